"""True against predicted classes: what a field holds, in which order, which are one."""

import numpy as np
import pytest

from jaxcell.evaluation import confusion_figure
from jaxcell.evaluation.confusion_figure import COLUMNS, ROWS, confusion


def test_fields_hold_the_cells_of_a_pair():
    truth = np.array(["b", "a", "b", "b", "c"])
    predicted = np.array(["b", "a", "a", "b", "d"])
    rows, columns, cells = confusion(truth, predicted, order=["d", "c", "b", "a"])
    assert rows == ["c", "b", "a"]  # none is truly d
    assert columns == ["d", "b", "a"]  # none is predicted c
    assert cells.tolist() == [[1, 0, 0], [0, 2, 1], [0, 0, 1]]


def test_classes_that_are_taken_for_each_other_are_neighbours():
    """Pairs (0, 5), (1, 6), … of which one is taken for the other half of the time."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 10, 4000)
    other = random.random(4000) < 0.5
    predicted = np.where(other, (truth + 5) % 10, truth)
    rows, columns, cells = confusion(truth.astype(str), predicted.astype(str))
    assert rows == columns
    for i in range(0, 10, 2):
        assert abs(int(rows[i]) - int(rows[i + 1])) == 5
    assert cells.sum() == 4000
    again = confusion(truth.astype(str), predicted.astype(str))
    assert again[0] == rows


@pytest.mark.parametrize("order", [None, ()])
def test_the_rarest_of_many_are_one_and_no_cell_is_lost(order):
    number = ROWS + 20
    truth = np.repeat([f"t{i:02}" for i in range(number)], np.arange(1, number + 1))
    predicted = truth.copy()
    predicted[::3] = [f"p{i % (COLUMNS + 7):02}" for i in range(len(truth[::3]))]
    rows, columns, cells = confusion(truth, predicted, order)
    assert cells.shape == (len(rows), len(columns)) == (ROWS, COLUMNS)
    assert rows[-1] == "21 rarer classes"
    assert columns[-1].endswith(" rarer classes")
    assert cells.sum() == len(truth)
    assert set(rows[:-1]) == {f"t{i:02}" for i in range(21, number)}
    assert set(rows[:-1]) <= set(columns)  # what is right has a column
    kept = truth >= "t21"
    assert cells[-1].sum() == (~kept).sum()
    right = sum(cells[i, columns.index(name)] for i, name in enumerate(rows[:-1]))
    assert right == (truth == predicted)[kept].sum()


@pytest.mark.parametrize("classes", [1, 2, 40])
def test_the_picture_shows_percent_of_a_row(classes, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    random = np.random.default_rng(0)
    truth = random.integers(0, classes, 3000)
    truth[:classes] = np.arange(classes)
    predicted = np.where(random.random(3000) < 0.75, truth, random.integers(0, classes, 3000))
    names = np.array([f"a type with a long name, number {i}" for i in range(classes)])
    drawn, real = [], Figure.savefig

    def keep(figure, *args, **options):
        drawn.append(figure)
        real(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    paths = [tmp_path / "a.png", tmp_path / "b.png"][: 1 if classes > 2 else 2]
    for path in paths:
        confusion_figure.confusion_figure(path, names[truth], names[predicted], "said")
    assert len({path.read_bytes() for path in paths}) == 1
    axes = drawn[0].axes[0]
    share = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(share.sum(axis=1), 100)
    texts = [t.get_text() for t in axes.texts]
    assert len(texts) == np.count_nonzero(np.rint(share))
    assert "0" not in texts
    # Names do not cover each other, nor are they cut; numbers fit into their fields.
    labels = [*axes.get_yticklabels(), *axes.get_xticklabels()]
    boxes = [label.get_window_extent() for label in labels]
    assert sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]) == 0
    field = axes.get_window_extent().width / share.shape[1]
    assert max(text.get_window_extent().width for text in axes.texts[:200]) < field
    whole = drawn[0].bbox
    assert all(whole.x0 <= b.x0 and b.x1 <= whole.x1 and b.y1 <= whole.y1 for b in boxes)
