"""Which obs columns could be labels, and how even their classes are."""

import numpy as np
import pandas as pd

from jaxcell.data.splits import classes, is_missing

MOST = 200  # classes of a column that is taken for a label
SHOWN = 100  # classes that are listed


def choose(obs, asked=None):
    """The columns that are labels, and why the others are none.

    Parameters
    ----------
    obs : pandas.DataFrame, [cells]
    asked : list of str, optional
        Columns to take, whatever they hold; those that obs lacks are left out.

    Returns
    -------
    list of str, and dict {column: why not}
    """
    if asked is not None:
        return [column for column in asked if column in obs], {}
    taken, others = [], {}
    for column in obs.columns:
        why = _no_label(obs[column], len(obs))
        if why:
            others[str(column)] = why
        else:
            taken.append(column)
    return taken, others


def _no_label(values, n):
    """Why a column is no label; '' where it may be one."""
    if pd.api.types.is_float_dtype(values) and values.notna().any():
        return "numbers"
    number = values.nunique()
    if pd.api.types.is_integer_dtype(values) and number > MOST:
        return "numbers"
    if number == 0:
        return "empty"
    if number == 1:
        return f"the same in all cells ({values.dropna().iloc[0]})"
    if number > MOST or number > n / 2:
        return f"{number:,} different values in {n:,} cells"
    return ""


def balance(column):
    """Classes of a column and how even they are, from obs[column] of all cells: dict."""
    codes, names = classes(column)
    return of_codes(codes, names)


def of_codes(codes, names):
    """The same from codes i32 [cells] into names; -1 and names that say "not known" are no class.

    'evenness' is the perplexity of the classes' shares over their number: 1 = all the same.
    """
    number = np.bincount(codes[codes >= 0], minlength=len(names))
    known = (number > 0) & ~is_missing(names) if len(names) else np.zeros(0, bool)
    order = [i for i in np.argsort(-number, kind="stable") if known[i]]
    counts = number[order]
    share = counts / counts.sum() if len(counts) else counts
    return {
        "classes": len(order),
        "unknown": int(len(codes) - counts.sum()),
        "largest": float(share.max(initial=0)),
        "smallest": int(counts.min()) if len(counts) else 0,
        "evenness": float(np.exp(-(share * np.log(share)).sum()) / len(counts))
        if len(counts)
        else 0.0,
        "cells": {names[i]: int(number[i]) for i in order[:SHOWN]},
    }
