"""Names and numbers in pictures: short, told apart, and never a formula."""

import os
from collections import Counter
from pathlib import Path

import pytest

from jaxcell.data.ontology_reading import read_ontology
from jaxcell.drawing import label, short, thousands, tick, told_apart
from tests.conftest import ROOT

CL = "annotation/cell_ontology/cl.obo"
REAL = Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data")) / CL
T_CELLS = [f"naive thymus-derived {cd}-positive, alpha-beta T cell" for cd in ("CD4", "CD8")]


def test_a_long_name_keeps_its_two_ends():
    assert short("abcdefghij", 10) == "abcdefghij"
    assert short("abcdefghijk", 10) == "abcde…hijk"
    assert short("abcdefghijk", 5) == "ab…jk"
    assert label("T $\\foo$ c") == "T \\$\\foo\\$ c"


@pytest.mark.parametrize("most", [16, 30, 44])
def test_names_that_differ_look_different(most):
    assert len({short(name, 44) for name in T_CELLS}) == 1  # what shortening one by one does
    names = [*T_CELLS, T_CELLS[0], "B cell", "$x$", *(f"{'a' * 60}{i}{'b' * 60}" for i in "12")]
    texts = told_apart(names, most)
    assert len(set(texts)) == len(set(names)) == len(names) - 1
    assert texts[0] == texts[2]
    assert texts[3:5] == ["B cell", "\\$x\\$"]
    assert all(len(text) <= max(most, 60) + 2 for text in texts)
    if most == 44:  # another cut is enough
        assert [len(text) for text in texts[:2]] == [44, 44]


def test_a_name_that_looks_like_another_ones_cut_is_told_apart_too():
    long = "abcdefghijk"
    texts = told_apart([long, short(long, 10)], 10)
    assert len(set(texts)) == 2


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_file(), reason=f"no file {REAL}; set JAXCELL_DATA")
@pytest.mark.parametrize(("most", "alike", "longest"), [(30, 198, 53), (44, 52, 44)])
def test_the_cell_ontologys_names_are_told_apart(most, alike, longest):
    names = list(read_ontology(REAL).names)
    cut = [short(name, most) for name in names]
    shared = {text for text, number in Counter(cut).items() if number > 1}
    assert sum(text in shared for text in cut) == alike
    texts = told_apart(names, most)
    assert len(set(texts)) == len(set(names)) == 3008
    assert max(map(len, texts)) == longest
    assert [a for a, b in zip(texts, cut, strict=True) if b not in shared] == [
        b for b in cut if b not in shared
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(-480000, "−480k"), (0.0025, "0.0025"), (0, "0"), (1.5e6, "1.5M"), (-3, "−3"), (2e9, "2G")],
)
def test_numbers_are_short(value, text):
    assert tick(value) == thousands(value) == text


def test_marks_keep_their_digits_and_numbers_do_not():
    assert (tick(472_500), thousands(472_500)) == ("472.5k", "472k")
