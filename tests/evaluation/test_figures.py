"""The maps of a report: numbers stand among their own, names differ, nothing is a formula."""

import itertools

import numpy as np
import pytest

from jaxcell.evaluation import (
    confusion_figure,
    figures,
    gene_figures,
    source_figures,
    verdict_figures,
)
from jaxcell.evaluation.networks import figures as networks
from jaxcell.evaluation.perturbation import figures as perturbation
from jaxcell.palette import INK, PALETTE, colours

FORMULA = "T $\\foo$ c"  # a name of a class, not what matplotlib calls mathtext
T_CELLS = [f"naive thymus-derived {cd}-positive, alpha-beta T cell" for cd in ("CD4", "CD8")]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    from matplotlib.figure import Figure

    kept, real = [], Figure.savefig

    def save(figure, *args, **options):
        kept.append(figure)
        real(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    return kept


def blobs(sizes, centres, seed=0):
    """Cells around centres [k, 2], and the number of each one's centre."""
    random = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return np.array(centres, float)[which] + 0.3 * random.normal(size=(len(which), 2)), which


def test_a_number_stands_among_its_own_cells():
    """A rare class has most cells scattered among a large one, and a few by themselves."""
    layout, which = blobs([400, 200, 12, 6], [[0, 0], [10, 0], [0, 0], [5, 9]])
    labels = np.array(["large", "other", "rare", "rare"])[which]
    places = figures._places(layout, labels, colours(labels))
    assert list(places) == [1, 2, 3]
    low, span = layout.min(axis=0), np.ptp(layout, axis=0)
    at = np.array(list(places.values())) * span + low
    np.testing.assert_allclose(at, [[0, 0], [10, 0], [5, 9]], atol=1)


def test_a_class_that_is_among_others_everywhere_has_no_number(tmp_path, drawn):
    layout, which = blobs([400, 200, 12], [[0, 0], [10, 0], [0, 0]])
    labels = np.array(["large", "other", "rare"])[which]
    shade = colours(labels)
    panels = [("type", labels, shade, True), ("batch", labels, shade, False)]
    figures.umap_figure(tmp_path / "x.png", "X", layout, panels)
    left, right = drawn[0].axes
    assert [text.get_text() for text in left.texts] == ["1", "2"]
    named = [text.get_text() for text in left.get_legend().get_texts()]
    assert named == ["1  large", "2  other", "–  rare"]
    assert left.get_title("left") == "UMAP by type; –: among others everywhere"
    assert len(right.texts) == 0
    assert right.get_title("left") == "UMAP by batch"
    assert [t.get_text() for t in right.get_legend().get_texts()] == ["large", "other", "rare"]


def test_cells_that_lie_on_one_spot_or_line_are_drawn(tmp_path, drawn):
    labels = np.array(["a", "b", "a"])
    for layout in (np.ones((3, 2)), np.array([[0.0, 5], [1, 5], [2, 5]])):
        figures.umap_figure(
            tmp_path / "x.png", "X", layout, [("type", labels, colours(labels), True)]
        )
    assert len(drawn) == 2


def test_names_in_maps_and_tables_differ_and_are_no_formulas(tmp_path, drawn):
    names = np.array([*T_CELLS, FORMULA])
    labels = names[np.arange(30) % 3]
    layout = np.random.default_rng(0).normal(size=(30, 2))
    figures.umap_figure(
        tmp_path / "x.png", FORMULA, layout, [(FORMULA, labels, colours(labels), True)],
        caption=FORMULA,
    )  # fmt: skip
    confusion_figure.confusion_figure(tmp_path / "y.png", labels, labels[::-1], FORMULA)
    texts = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert len({text.partition("  ")[2] for text in texts}) == 3
    axes = drawn[1].axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        found = {tick.get_text().rpartition("  ")[0] or tick.get_text() for tick in ticks}
        assert len(found) == 3
        assert any("CD4" in text for text in found)


@pytest.mark.parametrize("values", [(180, 240), (400, 460), (995, 1010), (12, 90), (100, 1e5)])
def test_an_axis_of_numbers_has_two_marks_or_more(values):
    """A range within 180 … 240 held the single mark 200."""
    low, high = np.log10(values[0]) - 0.05, np.log10(values[1]) + 0.05
    marks = source_figures._marks(low, high)
    assert 2 <= len(marks) <= 8
    assert ((np.log10(marks) >= low) & (np.log10(marks) <= high)).all()


def test_the_front_strikes_through_no_name(tmp_path, drawn):
    """Its steps lie where names would stand: right of the points."""
    rows = {
        f"PCA {d} (transductive)": {"dimensions": d, "parameters": None, "f1": score}
        for d, score in ((10, 0.638), (20, 0.648), (50, 0.686), (100, 0.659))
    }
    verdict_figures.pareto_figure(tmp_path / "x.png", rows, {"f1": "F1"}, set())
    axes = drawn[0].axes[0]
    [front] = [line for line in axes.lines if len(line.get_xdata()) > 1]
    x, y = front.get_data()  # right, and then up
    corners = axes.transData.transform(np.column_stack([np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]]))
    along = np.concatenate([np.linspace(a, b, 200) for a, b in itertools.pairwise(corners)])
    assert len(axes.texts) == 4
    for text in axes.texts:
        box = text.get_window_extent()
        inside = (along > [box.x0, box.y0]) & (along < [box.x1, box.y1])
        assert not inside.all(axis=1).any(), text.get_text()


def test_names_of_genes_are_dark_on_white(tmp_path, drawn):
    layout = np.random.default_rng(0).normal(size=(40, 2))
    genes = [f"G{i}" for i in range(40)]
    groups = {"a": genes[:4], "_b": genes[4:9]}
    networks.gene_map(tmp_path / "x.png", layout, genes, groups, "Genes")
    texts = drawn[0].axes[0].texts
    assert {text.get_text() for text in texts} == set(genes[:9])
    assert {text.get_color() for text in texts} == {INK}
    legend = drawn[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "_b"]


def test_every_model_has_its_entry_below_the_recall_while_it_trains(tmp_path, drawn):
    curves = {"_a": {"go": ([0, 5], [[1, 2], [2, 3]])}, "b": {"go": ([0, 5], [[2, 2], [3, 3]])}}
    levels = {"_chance": {"go": 0.5}}
    gene_figures.epochs_figure(tmp_path / "x.png", "Recall", curves, levels, {"go": "GO"})
    [legend] = drawn[0].legends
    pairs = zip(legend.texts, legend.legend_handles, strict=True)
    found = {text.get_text(): handle.get_color() for text, handle in pairs}
    assert found == dict(zip(("_a", "b", "_chance"), PALETTE, strict=False))


def test_one_group_of_conditions_fills_its_picture(tmp_path, drawn):
    main = perturbation.MAIN
    one = {"kind": "prediction", "conditions": {"a": {main: 0.5}, "b": {main: 0.6}}}
    for groups in ({"single": ["a", "b"]}, {key: ["a", "b"] for key in "xyz"}):
        perturbation.scores_figure(tmp_path / "x.png", {"TxFM": one}, groups)
        assert drawn[-1].axes[-1].get_position().x1 > 0.9
