"""The tree of types: which rows it has, what stands where, and that no cell is lost."""

import numpy as np
import pytest

from jaxcell.data.ontology import RELATIONS
from jaxcell.data.ontology_reading import read_ontology
from jaxcell.evaluation.annotation_tree import branches, tree_figure
from tests.data.test_ontology import (
    CD4,
    CD8,
    CELL,
    IMMUNE,
    OBO,
    PLASMA,
    B,
    T,
    random_dag,
)


@pytest.fixture
def ontology(tmp_path):
    path = tmp_path / "small.obo"
    path.write_text(OBO)
    return read_ontology(path)


def counts(ontology, **cells):
    found = np.zeros(len(ontology), int)
    for name, number in cells.items():
        found[globals()[name]] = number
    return found


def test_chains_without_cells_are_left_out(ontology):
    """CD4 and CD8 meet in the T cell; of what is above it nothing branches."""
    rows, where = branches(ontology, counts(ontology, CD4=1, CD8=3))
    assert rows == [(T, 0, 0), (CD8, 1, 0), (CD4, 1, 0)]  # the larger branch first
    assert where[[T, CD8, CD4]].tolist() == [0, 1, 2]
    assert where[CELL] == -1
    rows, _ = branches(ontology, counts(ontology, CD4=1, CELL=1))
    assert [node for node, *_ in rows] == [CELL, CD4]


def test_the_rarest_join_the_node_above_them(ontology):
    cells = counts(ontology, T=1, CD4=1, CD8=5, B=4, PLASMA=2)
    rows, where = branches(ontology, cells, most=4)
    assert {node: more for node, _, more in rows}[T] == 1  # CD4
    assert where[CD4] == where[T] != where[CD8]
    rows, where = branches(ontology, cells, most=1)
    assert len(rows) == 1
    assert (where[[T, CD4, CD8, B, PLASMA]] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_node_with_cells_has_a_row_below_an_ancestor(seed):
    ontology = random_dag(seed)
    random = np.random.default_rng(seed)
    cells = random.integers(0, 3, len(ontology))
    rows, where = branches(ontology, cells)
    place = {node: i for i, (node, *_) in enumerate(rows)}
    assert len(place) == len(rows)
    for node in np.flatnonzero(cells):
        assert where[node] == place[node]
    stack = []
    for node, level, more in rows:
        assert more == 0
        del stack[level:]
        assert len(stack) == level
        assert level == 0 or ontology.above[node, stack[-1]]
        stack.append(node)
    few, where = branches(ontology, cells, most=5)
    assert len(few) <= max(5, sum(level == 0 for _, level, _ in few))
    assert (where[cells > 0] >= 0).all()


def test_bars_hold_every_cell_by_its_relation(ontology, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    random = np.random.default_rng(0)
    truth = random.choice([CD4, CD8, PLASMA, T], 300)
    predicted = random.choice([CD4, CD8, PLASMA, T, CELL, B], 300)
    drawn, real = [], Figure.savefig

    def keep(figure, *args, **options):
        drawn.append(figure)
        real(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        tree_figure(path, ontology, truth, predicted, "greedy")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    tree, true, guessed = drawn[0].axes
    widths = [[bar.get_width() for bar in part] for part in guessed.containers]
    relation = ontology.relation(predicted, truth)
    assert [sum(w) for w in widths] == [(relation == r).sum() for r in RELATIONS]
    assert sum(bar.get_width() for bar in true.containers[0]) == 300
    named = [t.get_text() for t in tree.texts]
    # Those with cells, and where their branches meet.
    shown = set(truth) | set(predicted) | {IMMUNE}
    assert sorted(named) == sorted(ontology.names[i] for i in shown)
