"""Post-processing of embeddings by their control cells: centring, standardising, TVN.

n cells, d dimensions, m controls. Source: TxFM, B.1.1; TVN is Ando et al. 2017, in the steps of
EFAAR's ``tvn_on_controls``. A batch with fewer than `FEWEST_CONTROLS` controls has no statistics
of its own: those of all controls are taken there.

TVN makes the controls it is fitted on look alike; of few controls in many dimensions so much so
that a control is known by that alone, whatever was done to the others (measured: 1 000 controls,
2 000 genes, shuffled perturbations: retrieval of .80 to .94 where chance is .5). So TVN is defined
only where there are `CONTROLS` controls for each dimension, and a batch's covariance is aligned
only where it has `BATCH_CONTROLS` for each. EFAAR, with thousands of controls, does not ask.
"""

import numpy as np

from ..consistency import blocks, principal_axes, sums

FEWEST_CONTROLS = 3  # of a batch that has a mean, sd and covariance of its own
CONTROLS = 5  # for each dimension that TVN whitens
BATCH_CONTROLS = 2  # of a batch, for each dimension whose covariance is aligned
RIDGE = 0.5  # EFAAR's, on the diagonal of covariances whose features have variance 1
FLAT = 1e-6  # an sd below this share of the largest is that of a constant


def postprocess(kind, x, control, batch):
    """Embeddings after a post-processing fitted on the controls.

    Parameters
    ----------
    kind : str
        'none'; 'centre': minus the mean of the batch's controls; 'centre-scale': also divided by
        their sd (a feature that is constant among them is divided by all controls' sd, or by 1);
        'tvn'.
    x : [n, d]
    control : bool [n]
    batch : [n]

    Returns
    -------
    float32 [n, d]; of 'tvn' [n, rank of the controls], zeros [n, 1] where these are all alike

    Raises
    ------
    ValueError
        An unknown kind, fewer than 3 controls in all, or too few for TVN.
    """
    if kind not in KINDS:
        raise ValueError(f"post-processing: found {kind!r}, expected one of {', '.join(KINDS)}")
    control = np.asarray(control, bool)
    if control.sum() < FEWEST_CONTROLS:
        raise ValueError(f"control: {control.sum()} cells, expected {FEWEST_CONTROLS} or more")
    if not defined(kind, np.shape(x)[1], control.sum()):
        raise ValueError(
            f"tvn: found {control.sum()} controls in {np.shape(x)[1]} dimensions, expected "
            f"{CONTROLS} or more for each"
        )
    _, code = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    return KINDS[kind](np.asarray(x, np.float32), control, code)


def defined(kind, dimensions, controls):
    """Whether so many controls are enough for a post-processing of so many dimensions."""
    return kind != "tvn" or controls >= CONTROLS * dimensions


def without_controls(control, batch):
    """Batches whose controls are too few for statistics of their own: list of str."""
    names, code = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    own = np.bincount(code[control], minlength=len(names))
    return names[own < FEWEST_CONTROLS].tolist()


def _none(x, control, code):
    return x


def _centred(x, control, code):
    mean, _ = _statistics(x, control, code)
    return _by_batch(x, code, mean, np.ones_like(mean))


def _scaled(x, control, code):
    return _by_batch(x, code, *_statistics(x, control, code))


def _tvn(x, control, code):
    """Whiten by all controls, standardise by each batch's, then align their covariances (CORAL)."""
    everyone = np.zeros(len(x), np.intp)
    x = _scaled(x, control, everyone)
    axes, energy = principal_axes(x[control].astype(np.float64))
    if not len(energy):
        return np.zeros((len(x), 1), np.float32)  # nothing that can be whitened
    axes = (axes / np.sqrt(energy / control.sum())).astype(np.float32)
    y = np.empty((len(x), axes.shape[1]), np.float32)
    for rows in blocks(len(x)):
        y[rows] = x[rows] @ axes
    y = _scaled(y, control, code)
    target = _power(y[control], 0.5)
    for b in np.unique(code):
        here = np.flatnonzero(code == b)
        own = here[control[here]]
        if len(own) >= max(FEWEST_CONTROLS, BATCH_CONTROLS * y.shape[1]):
            y[here] = target(_power(y[own], -0.5)(y[here]))
    return y


KINDS = {"none": _none, "centre": _centred, "centre-scale": _scaled, "tvn": _tvn}


def _statistics(x, control, code):
    """Mean and sd of each batch's controls, float32 [batches, d] each."""
    own, batches = code[control], code.max() + 1
    y = x[control].astype(np.float64)
    overall, spread = y.mean(axis=0), y.std(axis=0)
    y -= overall  # so that the squares do not cancel
    cells = np.bincount(own, minlength=batches)[:, None]
    mean = sums(y, own, batches) / np.maximum(cells, 1)
    y -= mean[own]
    sd = np.sqrt(sums(y**2, own, batches) / np.maximum(cells, 1))
    few = cells < FEWEST_CONTROLS
    spread = np.where(spread > FLAT * max(spread.max(), np.finfo(float).tiny), spread, 1)
    sd = np.where(few | (sd <= FLAT * spread), spread, sd)
    return (np.where(few, 0, mean) + overall).astype(np.float32), sd.astype(np.float32)


def _by_batch(x, code, mean, sd):
    found = np.empty_like(x)
    for rows in blocks(len(x)):
        found[rows] = (x[rows] - mean[code[rows]]) / sd[code[rows]]
    return found


def _power(x, exponent):
    """Function: rows times (covariance of x + RIDGE · 1) to a power.

    Of few cells x [m, d] only the axes in which they differ are held, [d, m - 1]; along all others
    the covariance is 0.
    """
    y = x.astype(np.float64)
    axes, energy = principal_axes(y - y.mean(axis=0))
    rest = RIDGE**exponent
    gain = ((energy / (len(x) - 1) + RIDGE) ** exponent - rest).astype(np.float32)
    axes = axes.astype(np.float32)

    def apply(rows):
        return np.float32(rest) * rows + ((rows @ axes) * gain) @ axes.T

    return apply
