"""Probes by TxFM's protocol: linear and MLP classifiers on vectors that stay as they are.

n cells, d features, m training cells, C classes of them. Source: TxFM, B.2.3; its learning rates,
weight decay, widths and dropout are lost from the text at hand, and so are parameters here.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from .probes import score

VALIDATION = 0.2  # share of the training cells, drawn one by one
TEST = 0.25  # share of the cells, by whole batches
NEAR = 0.1  # a share of test cells that lies so near to the asked one is as good as any
ORDERS = 100  # of the batches that are tried for one
RATES = (1e-3, 1e-2, 1e-1)
WIDTHS = (256,)  # hidden units of the MLP; its second layer are the classes


@dataclass(frozen=True)
class Split:
    """Positions of the cells to train on, to stop and choose by, and to score.

    ``held_out``: names of the batches that only ``test`` has, () where cells are drawn;
    ``protocol``: the split in words.
    """

    train: np.ndarray  # int [m]
    valid: np.ndarray  # int [.]
    test: np.ndarray  # int [.]
    held_out: tuple
    protocol: str


@dataclass(frozen=True)
class Training:
    """How a probe is trained; hashable, so that each is compiled once."""

    widths: tuple = ()  # hidden units of each hidden layer; (): a linear probe
    dropout: float = 0.0  # behind each hidden layer
    batch: int = 2048  # most cells of a step
    weight_decay: float = 0.01  # of AdamW
    most_epochs: int = 200
    patience: int = 10  # epochs without a better validation loss, then it stops
    plateau: int = 3  # epochs without one, then the rate is multiplied by `factor`
    factor: float = 0.5


@dataclass(frozen=True)
class Probed:
    """What a probe says of the test cells, and how it came about."""

    predictions: np.ndarray  # str [test cells]
    accuracy: float
    macro_f1: float  # over the classes of the test cells
    rate: float  # chosen of the grid
    epochs: int  # up to the best validation loss
    absent: tuple  # classes of the test cells that no training cell has: errors, all of them
    grid: tuple  # per rate: {'rate', 'epochs', 'loss', 'accuracy', 'macro_f1'}, of validation


def batch_split(labels, batch, seed, test=TEST):
    """Split the cells: whole batches to test, a fifth of the others, by cells, to validate.

    Of 100 random orders of the batches, in each of which one batch after the other is held out
    where that brings the share of the test cells nearer to ``test``, the first that ends within
    10 points of it; else the nearest of them. At least one batch is on each side. Where there is
    no second batch, ``test`` of the cells are drawn, of each class alike where all have two.

    Parameters
    ----------
    labels : str [n]
    batch : str [n] or None
    seed : int
    test : float

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        ``test`` is no share, or so few cells are left that one side is empty.
    """
    if not 0 < test < 1:
        raise ValueError(f"test: found {test}, expected a share between 0 and 1")
    rng, n = np.random.default_rng(seed), len(labels)
    names, code, sizes = _batches(batch)
    if len(names) > 1:
        held = _drawn_batches(sizes, test * n, n, rng)
        at_test = np.isin(code, held)
        held_out = tuple(sorted(names[held].tolist()))
        protocol = f"{len(held)} of {len(names)} batches are held out, drawn by seed"
    else:
        at_test = _drawn_cells(labels, test, seed)
        why = "no batch column" if batch is None else f"one batch only, {str(names[0])!r}"
        held_out, protocol = (), f"{test:.0%} of the cells ({why}): no batch is held out"
    rest = rng.permutation(np.flatnonzero(~at_test))
    validate = round(VALIDATION * len(rest))
    if not validate or not at_test.any():
        raise ValueError(
            f"{n} cells leave {int(at_test.sum())} to test and {validate} to validate; expected "
            "one at least of each"
        )
    train, valid = np.sort(rest[validate:]), np.sort(rest[:validate])
    return Split(train, valid, np.flatnonzero(at_test), held_out, protocol)


def _batches(batch):
    """Names of the batches, each cell's place among them, and their sizes."""
    if batch is None:
        return (), None, ()
    return np.unique(batch, return_inverse=True, return_counts=True)


def _drawn_batches(sizes, wanted, n, rng):
    """Which batches hold about so many of the n cells, int [.]; never all of them."""
    best, off = None, np.inf
    for _ in range(ORDERS):
        taken, cells = [], 0
        for one in rng.permutation(len(sizes)):
            nearer = abs(cells + sizes[one] - wanted) < abs(cells - wanted)
            if len(taken) < len(sizes) - 1 and (nearer or not taken):
                taken.append(one)
                cells += sizes[one]
        if abs(cells - wanted) < off:
            best, off = np.array(taken), abs(cells - wanted)
        if off <= NEAR * n:
            break
    return best


def _drawn_cells(labels, test, seed):
    """Cells to test where there are no batches, bool [n]."""
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(labels, return_counts=True)
    drawn = round(test * len(labels))
    both = counts.min() > 1 and len(classes) <= min(drawn, len(labels) - drawn)
    _, at = train_test_split(
        np.arange(len(labels)), test_size=test, random_state=seed, stratify=labels if both else None
    )
    return np.isin(np.arange(len(labels)), at)


def fit_probe(x, labels, split, *, rates=RATES, seed=0, training=None, **fields):
    """Train a probe at each learning rate, and score the one that validates best.

    Features are standardised by the training cells. Softmax regression, or an MLP with ReLU;
    AdamW on equal batches of at most 2048, each cell once an epoch. The rate is halved when the
    validation loss has not fallen for 3 epochs; training stops after 10, or after 200 epochs in
    all, and takes the weights of the least. Of the rates, that with the highest accuracy + macro-F1
    on the validation cells (the first of equals). Validation cells of a class without a training
    cell are errors there and in no loss.

    Parameters
    ----------
    x : float32 [n, d]
    labels : str [n]
    split : Split
    rates : sequence of float
    seed : int
        Of the initial weights, the order of the cells and dropout: the same seed, the same probe.
    training : Training, optional
    **fields : of Training, in the place of ``training``'s (or of its defaults)

    Returns
    -------
    Probed

    Raises
    ------
    ValueError
        No rate; or no validation cell has a class of the training cells.
    """
    import jax
    from sklearn.preprocessing import StandardScaler

    from . import softmax_training

    how = dataclasses.replace(training or Training(), **fields)
    if not rates:
        raise ValueError("rates: found none, expected one learning rate at least")
    classes, y = np.unique(labels[split.train], return_inverse=True)
    truth = labels[split.valid]
    known = np.isin(truth, classes)
    if not known.any():
        raise ValueError(
            f"none of the {len(truth)} validation cells has a class of the {len(y)} training cells"
        )
    scaler = StandardScaler().fit(x[split.train])
    train, valid, test = (
        scaler.transform(x[at]).astype(np.float32, copy=False)
        for at in (split.train, split.valid, split.test)
    )
    best, weights, grid = -np.inf, None, []
    with jax.enable_x64(False):
        cells = jax.device_put((train, y.astype(np.int32)))
        seen = jax.device_put((valid[known], np.searchsorted(classes, truth[known]).astype("i4")))
        for rate in rates:
            found, loss, epochs = softmax_training.fit(
                *cells, *seen, rate, seed, classes=len(classes), how=how
            )
            accuracy, f1 = score(truth, classes[softmax_training.predict(found, valid)])
            row = {"rate": float(rate), "epochs": int(epochs), "loss": _finite(float(loss))}
            grid.append(row | {"accuracy": accuracy, "macro_f1": f1})
            if accuracy + f1 > best:
                best, weights, chosen = accuracy + f1, found, grid[-1]
        predictions = classes[softmax_training.predict(weights, test)]
    accuracy, f1 = score(labels[split.test], predictions)
    absent = tuple(sorted(set(labels[split.test].tolist()) - set(classes.tolist())))
    return Probed(predictions, accuracy, f1, chosen["rate"], chosen["epochs"], absent, tuple(grid))


def _finite(value):
    """None for the loss of a rate at which it never was a number."""
    return value if np.isfinite(value) else None
