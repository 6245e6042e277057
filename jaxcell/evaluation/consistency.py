"""Perturbation consistency: are the cells of a perturbation more alike than by chance?

n cells, d dimensions, P perturbations. Source: TxFM, B.1.1. Its text has lost the number of random
cells and the cut of p: here `NULL_CELLS` (EFAAR's number) and 0.05, both parameters.
"""

import numpy as np
import scipy.sparse as sp

NULL_CELLS = 5000
FEWEST_CELLS = 5  # of a perturbation that is scored


def align(x, control, batch):
    """PCA fitted on the control cells, all components; then zero mean, unit sd within each batch.

    Parameters
    ----------
    x : [n, d]
    control : bool [n]
    batch : [n]

    Returns
    -------
    float64 [n, rank of the controls, at most min(d, controls - 1)]; a component that is constant in
    a batch is 0 there
    """
    x = np.asarray(x)
    own = np.asarray(x[control], np.float64)
    mean = own.mean(axis=0)
    axes, _ = principal_axes(own - mean)
    x = (x - mean) @ axes
    _, code = np.unique(np.asarray(batch).astype(str), return_inverse=True)
    cells = np.bincount(code)[:, None]
    means = sums(x, code, len(cells)) / cells
    largest = np.abs(x).max(initial=0)
    for rows in blocks(len(x)):
        x[rows] -= means[code[rows]]
    square = np.zeros_like(means)
    for rows in blocks(len(x)):
        square += sums(x[rows] ** 2, code[rows], len(cells))
    sd = np.sqrt(square / cells)
    # Against the values before: where all that differs are batches, what is left is rounding.
    sd = np.where(sd > 1e-9 * largest, sd, np.inf)
    for rows in blocks(len(x)):
        x[rows] /= sd[code[rows]]
    return x


def principal_axes(x):
    """Principal axes of centred cells, largest variance first, from the smaller Gram matrix.

    x float64 [m, d] -> axes [d, k], orthonormal, and energies [k] (the sum over cells of the
    squared scores), k = rank <= min(d, m - 1)
    """
    wide = x.shape[1] > len(x)
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    keep = values > max(values[-1], 0) * 1e-12 * max(x.shape)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    if wide:
        vectors = x.T @ (vectors / np.sqrt(values))
    return vectors, values


def blocks(n, most=8192):
    """Slices of at most so many rows that cover n: no temporary is as large as the cells."""
    return [slice(start, min(start + most, n)) for start in range(0, n, most)]


def sums(x, code, groups):
    """Sum of the rows of each group: x [n, d], code int [n] -> float64 [groups, d]."""
    member = sp.csr_matrix((np.ones(len(x)), (code, np.arange(len(x)))), (groups, len(x)))
    return member @ x


def leave_one_out(x, code, groups):
    """Mean cosine of each cell to the mean of the other cells of its group.

    x [n, d], code int [n] (-1: in no group) -> float [groups]; a group of one cell gives 0
    """
    places, cosines = np.flatnonzero(code >= 0), []
    x_of, code = (lambda rows: x[places[rows]]), code[places]
    total = np.zeros((groups, x.shape[1]))
    for rows in blocks(len(places)):
        total += sums(x_of(rows), code[rows], groups)
    for rows in blocks(len(places)):
        own, mine = x_of(rows), total[code[rows]]
        square, dot = (own**2).sum(axis=1), (own * mine).sum(axis=1)
        rest = (mine**2).sum(axis=1) - 2 * dot + square  # |total - x|²
        norm = np.sqrt(square * np.maximum(rest, 0))
        cosines.append(np.where(norm > 0, (dot - square) / np.where(norm > 0, norm, 1), 0))
    cosines = np.concatenate([np.empty(0), *cosines])
    return np.bincount(code, cosines, groups) / np.maximum(np.bincount(code, minlength=groups), 1)


def _unit(x):
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)


def perturbation_consistency(
    x,
    perturbation,
    batch,
    *,
    control,
    per_batch=False,
    cut=0.05,
    null_cells=NULL_CELLS,
    fewest=FEWEST_CELLS,
    seed=0,
):
    """Share of perturbations whose cells are consistent: more alike than random cells are to them.

    After `align`, a perturbation's similarity is the mean of its cells' cosines to the mean of its
    other cells. The null distribution, one for all, are the cosines of random cells (drawn without
    replacement, controls among them) to each perturbation's mean, but for cells of that
    perturbation. p = (1 + null cosines at least as high) / (1 + null cosines).

    Parameters
    ----------
    x : [n, d], embeddings
    perturbation, batch : [n]
    control : the value of ``perturbation`` of unperturbed cells
    per_batch : score a perturbation in each batch on its own, for data with few perturbations
        (the random cells still leave out the perturbation in every batch)
    cut : p below which a perturbation is consistent
    null_cells : random cells of the null, at most all
    fewest : perturbations with fewer cells are not scored
    seed : of the random cells

    Returns
    -------
    dict
        ``score`` (share consistent), ``consistent``, ``scored`` (numbers of perturbations),
        ``left_out`` (with too few cells), ``perturbations`` {name: {similarity, p, cells}}

    Raises
    ------
    ValueError
        Lengths differ, values are not finite, too few controls, or nothing to score.
    """
    x, perturbation, batch = np.asarray(x), _strings(perturbation), _strings(batch)
    is_control = perturbation == str(control)
    _check(x, perturbation, batch, is_control, control)
    aligned = align(x, is_control, batch)
    asked = dict(per_batch=per_batch, cut=cut, null_cells=null_cells, fewest=fewest, seed=seed)
    return aligned_consistency(aligned, perturbation, batch, control=control, **asked)


def aligned_consistency(
    aligned,
    perturbation,
    batch,
    *,
    control,
    per_batch=False,
    cut=0.05,
    null_cells=NULL_CELLS,
    fewest=FEWEST_CELLS,
    seed=0,
):
    """`perturbation_consistency` of what `align` returned: aligned [n, k]; the rest as there."""
    perturbation, batch = _strings(perturbation), _strings(batch)
    unit = np.char.add(np.char.add(perturbation, " | "), batch) if per_batch else perturbation
    names, code = np.unique(unit, return_inverse=True)
    cells = np.bincount(code)
    treatment = perturbation[np.unique(code, return_index=True)[1]]  # of each unit
    treated = treatment != str(control)
    scored = treated & (cells >= max(fewest, 2))
    left_out = int((treated & ~scored).sum())
    if not scored.any():
        raise ValueError(
            f"perturbation: none has {fewest} cells or more; the largest of {len(names)} has "
            f"{cells[treated].max(initial=0)}"
        )
    place = np.where(scored, np.cumsum(scored) - 1, -1)[code]  # row of each cell's unit
    names, treatment, units = names[scored], treatment[scored], int(scored.sum())

    similarity = leave_one_out(aligned, place, units)
    means = np.zeros((units, aligned.shape[1]))
    for rows in blocks(len(place)):
        there = place[rows] >= 0
        means += sums(aligned[rows][there], place[rows][there], units)
    means = _unit(means)
    drawn = np.random.default_rng(seed).permutation(len(aligned))[:null_cells]
    null = _unit(aligned[drawn]) @ means.T
    null = np.sort(null[perturbation[drawn][:, None] != treatment[None]])
    if not len(null):
        raise ValueError("null_cells: every random cell is of the one perturbation; draw more")
    higher = len(null) - np.searchsorted(null, similarity, side="left")
    p = (1 + higher) / (1 + len(null))
    consistent = int((p < cut).sum())
    return {
        "score": consistent / units,
        "consistent": consistent,
        "scored": units,
        "left_out": left_out,
        "perturbations": {
            str(n): {"similarity": float(s), "p": float(q), "cells": int(k)}
            for n, s, q, k in zip(names, similarity, p, cells[scored], strict=True)
        },
    }


def _strings(values):
    return np.asarray(values).astype(str)


def _check(x, perturbation, batch, is_control, control):
    if x.ndim != 2 or not len(x) == len(perturbation) == len(batch):
        raise ValueError(
            f"x has shape {x.shape}, perturbation {len(perturbation)} and batch {len(batch)} "
            "cells; expected [n, d] and n of each"
        )
    if not np.isfinite(x).all():
        raise ValueError("x: holds NaN or infinite values")
    if is_control.sum() < 3:
        known = ", ".join(np.unique(perturbation)[:5])
        raise ValueError(
            f"control {control!r}: {is_control.sum()} cells, expected 3 or more; perturbation has "
            f"{known}"
        )
