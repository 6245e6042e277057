"""Datasets held out as wholes, so that every cell type still occurs in training.

D datasets, T cell types. Source: BMFM-RNA 4.4.1: a split by dataset, "selected so that all cell
types are present during training and as many as possible in validation also".
"""

import warnings

import numpy as np


def held_out(cells, share, seed, names):
    """Which datasets are for validation.

    In an order drawn by seed, first those that bring a type which validation lacks, then any; never
    one that holds the only training cells of a type.

    Parameters
    ----------
    cells : int [D, T]
        Cells of each type in each dataset; of datasets without types, zeros.
    share : float
        Of the datasets, above 0 and below 1; one at least.
    seed : int
    names : list of str [D]
        For messages.

    Returns
    -------
    bool [D]

    Raises
    ------
    ValueError
        Fewer than two datasets, or each holds the only cells of a type.

    Warns
    -----
    UserWarning
        Fewer can be held out than were asked for.
    """
    number = len(names)
    if number < 2:
        raise ValueError(
            f"a split by dataset needs two datasets or more; found {', '.join(names) or 'none'}"
        )
    present = np.asarray(cells) > 0
    wanted = min(max(round(share * number), 1), number - 1)
    held = np.zeros(number, bool)
    in_training = present.sum(axis=0)  # datasets of each type
    in_validation = np.zeros(present.shape[1], bool)
    order = np.random.default_rng(seed).permutation(number)
    for new_types in (True, False):
        for one in order:
            types = present[one]
            if held.sum() == wanted or held[one] or (in_training[types] < 2).any():
                continue
            if new_types and not (types & ~in_validation).any():
                continue
            held[one] = True
            in_training -= types
            in_validation |= types
    if not held.any():
        raise ValueError(
            f"no dataset can be held out: each of the {number} holds the only cells of a type "
            f"(for example {names[order[0]]}); split by cell instead (split.by: cell)"
        )
    if held.sum() < wanted:
        warnings.warn(
            f"split by dataset: {held.sum()} of {number} datasets are held out, {wanted} were "
            "asked for: each other one holds the only training cells of a type",
            stacklevel=2,
        )
    return held
