"""Tables over seeds: means, spreads, and what is marked."""

from jaxcell.evaluation.seed_tables import best, markdown_table, plain_table, texts

COLUMNS = {"a": "A", "b": "B"}
ROWS = [
    ("one", [{"a": 0.2, "b": None}, {"a": 0.4, "b": 0.5}]),
    ("two", [{"a": 0.31, "b": 0.7}, {"a": 0.31, "b": 0.7}]),
    ("three", [{"a": 0.25, "b": 0.1}]),
]


def test_means_have_the_spread_of_two_seeds_or_more():
    assert texts(ROWS, COLUMNS) == [
        ["one", ".300 ± .141", "–"],
        ["two", ".310* ± .000", ".700* ± .000"],
        ["three", ".250", ".100"],
    ]


def test_the_best_seed_of_each_column():
    assert texts(ROWS, COLUMNS, best) == [
        ["one", ".400*", ".500"],
        ["two", ".310", ".700*"],
        ["three", ".250", ".100"],
    ]


def test_equal_as_printed_is_equally_good_and_some_columns_have_no_best():
    rows = [("x", [{"a": 0.10004, "b": 1.0}]), ("y", [{"a": 0.1, "b": 0.0}])]
    assert texts(rows, COLUMNS, marked=("a",)) == [["x", ".100*", "1.000"], ["y", ".100*", ".000"]]


def test_markdown_and_text():
    page = markdown_table("arm", ROWS, COLUMNS)
    assert "| two | **.310** ± .000 | **.700** ± .000 |" in page
    lines = plain_table("arm", ROWS, COLUMNS).splitlines()
    assert lines[0].split() == ["arm", "A", "B"]
    assert lines[3].startswith("two    .310* ± .000  .700* ± .000")
