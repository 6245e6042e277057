"""Which terms the tree of annotated types shows, and what its numbers count."""

import numpy as np
import pytest

from jaxcell.data.ontology_reading import read_ontology
from jaxcell.evaluation.annotation_tree import _cells, _columns, _places, branches, tree_figure
from tests.data.test_ontology import CD4, CD8, CELL, IMMUNE, OBO, PLASMA, T


@pytest.fixture
def ontology(tmp_path):
    path = tmp_path / "small.obo"
    path.write_text(OBO)
    return read_ontology(path)


def edges(ontology, types):
    """{term: the term that it hangs under}."""
    nodes, parent = branches(ontology, types)
    return {n: nodes[p] if p >= 0 else None for n, p in zip(nodes.tolist(), parent, strict=True)}


def test_of_the_terms_above_those_that_branch_are_drawn(ontology):
    found = edges(ontology, [CD4, CD8, PLASMA])
    assert found == {IMMUNE: None, T: IMMUNE, PLASMA: IMMUNE, CD4: T, CD8: T}
    assert edges(ontology, [T, CD4]) == {T: None, CD4: T}  # a type above another is drawn itself
    assert edges(ontology, [CD8]) == {CD8: None}


def test_shares_by_hand(ontology):
    nodes = np.array([IMMUNE, T, CD4, CD8, PLASMA])
    truth = np.array([CD4, CD4, CD8, PLASMA])
    predicted = np.array([CD4, CD8, CELL, PLASMA])
    true, right = _cells(ontology, nodes, truth, predicted)
    assert true.tolist() == [4, 3, 2, 1, 1]
    assert right.tolist() == [3, 2, 1, 0, 1]


def test_leaves_have_a_row_each_and_names_do_not_run_into_the_next_column(ontology):
    nodes, parent = branches(ontology, [CD4, CD8, PLASMA])
    y, column = _places(nodes, parent)
    leaves = [i for i in range(len(nodes)) if i not in parent]
    assert sorted(y[leaves]) == [0, 1, 2]
    places = dict(zip(nodes.tolist(), column.tolist(), strict=True))
    assert places == {IMMUNE: 0, T: 1, PLASMA: 1, CD4: 2, CD8: 2}
    texts = {IMMUNE: "root", T: "T", PLASMA: "a rather long name\nof two lines", CD4: "4", CD8: "8"}
    x, end = _columns(column, [texts[node] for node in nodes.tolist()])
    assert x[nodes == CD4] - x[nodes == T] > 18 * 0.068
    assert end > x.max()


def test_the_picture_is_drawn_of_any_predictions(ontology, tmp_path):
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, len(ontology), (2, 40))
    tree_figure(tmp_path / "tree.png", ontology, truth, predicted, "leaf argmax")
    tree_figure(tmp_path / "one.png", ontology, truth[:1], predicted[:1], "leaf argmax")
    assert (tmp_path / "tree.png").stat().st_size > (tmp_path / "one.png").stat().st_size > 1000
