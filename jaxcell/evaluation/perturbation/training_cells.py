"""The cells that a split lets a model see, as a file of their own; and whether a model saw others.

n cells of the data, G its genes.
"""

import numpy as np
import pandas as pd

from .names import listed, name_of, parts_of

PART = "part"  # column of obs: train or val
TRAIN, VAL = "train", "val"


def training_cells(adata, data, split):
    """Controls, and the cells of training and validation conditions, told apart by ``obs['part']``.

    Of a split of cells all but the held-out ones, controls among them. What was computed of all
    cells together is left out: obsm, varm, obsp, varp, uns, raw, and columns of var that are no
    names (means, scores, flags). Columns of obs and layers are the kept cells' own.

    Parameters
    ----------
    adata : AnnData
        What the data were read from.
    data : Perturbations
    split : Split

    Returns
    -------
    AnnData
        A copy; ``jaxcell prepare --hold-out part=val`` holds the validation conditions out, where
        there are some.

    Raises
    ------
    ValueError
        Cells of one name, or an obs column 'part' that says something else.
    """
    import anndata

    names = pd.Index(adata.obs_names.astype(str))
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise ValueError(f"obs_names: {twice!r} twice; expected each cell once, to tell them apart")
    if PART in adata.obs:
        raise ValueError(
            f"obs[{PART!r}] is there already; training cells are told from validation by a column"
            " of that name: expected a file without it"
        )
    seen, tested = split.rows(data)
    valid = np.isin(np.array([*data.conditions, ""])[data.code], split.val)  # code -1: control
    keep = (seen | valid) & ~tested
    rows = names.get_indexer(data.cells[keep])
    obs = adata.obs.iloc[rows].copy()
    for column in obs.columns[obs.dtypes == "category"]:
        obs[column] = obs[column].cat.remove_unused_categories()  # else they name the held-out
    obs[PART] = pd.Categorical(np.where(valid[keep], VAL, TRAIN))
    var = adata.var[[c for c in adata.var if _names(adata.var[c])]].copy()
    # From 0.13 on AnnData lists X among its layers, as None.
    layers = {name: x[rows] for name, x in adata.layers.items() if name is not None}
    return anndata.AnnData(adata.X[rows], obs=obs, var=var, layers=layers)


def _names(column):
    return not pd.api.types.is_numeric_dtype(column)  # of which bool is one


def vocabulary(data):
    """Names of the genes a model needs: those of the data, then perturbed ones without a column.

    A model is told what was done by the tokens of genes, so that these have to be among its own.

    Returns
    -------
    list of str
    """
    return [*map(str, data.genes), *data.unknown]


def seen_in_training(classes, split, **layout):
    """Tested conditions that are among the classes which a model was trained with.

    Parameters
    ----------
    classes : sequence of str
        Conditions as the model's store spells them.
    split : Split
    layout : control and separator of that spelling, see `names.parts_of`

    Returns
    -------
    tuple of str : of ``split.test``; () of a split of cells, whose conditions are all seen
    """
    if split.kind == "cells":
        return ()
    own = {name_of(parts_of(str(name), **layout)) or str(name) for name in classes}
    return tuple(c for c in split.test if c in own)


def check_unseen(classes, split, where, **layout):
    """Raise ValueError where a model was trained with tested conditions (`seen_in_training`)."""
    seen = seen_in_training(classes, split, **layout)
    if seen:
        raise ValueError(
            f"{where}: was trained with {len(seen)} of the {len(split.test)} conditions that are"
            f" tested: {listed(seen)}; expected a model of the cells that"
            " jaxcell perturb split --train-cells wrote"
        )
