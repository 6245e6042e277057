"""What `prepare` refuses of what it is asked, before anything is written."""

import os
from pathlib import Path

from jaxcell.data.preparing.survey import divide
from jaxcell.data.preparing.unfinished import clean_up
from jaxcell.data.records import MAX_DATASETS
from jaxcell.data.splits import TRAIN, VALID, lacking
from jaxcell.data.store import VALUES
from jaxcell.files import check_new
from jaxcell.writing import check_writable


def check_output(out):
    """Refuse a store that exists, or that cannot be made.

    out : path, as it was given
    """
    check_new(out, "a store")
    out = Path(out)
    if os.path.lexists(out):
        finished = ", and is finished (what a killed prepare left beside it is gone)"
        raise FileExistsError(
            f"{out} exists already{finished if clean_up(out) else ''}: remove it, or choose "
            "another output"
        )
    parent = next(p for p in out.absolute().parents if p.exists())
    if not parent.is_dir():
        raise ValueError(f"{out} cannot be made: {parent} is not a folder one can write to")
    check_writable(parent, out)


def check_values(values, duplicates, hvg):
    """Refuse an unknown kind of values, and what takes counts of values that are none."""
    if values not in VALUES:
        raise ValueError(f"values is {values!r}; known: {', '.join(VALUES)}")
    for name, wrong in (("duplicates", duplicates == "sum"), ("hvg", hvg)):
        if values == "log1p" and wrong:
            raise ValueError(
                f"values is 'log1p' with {name} = {hvg if name == 'hvg' else duplicates!r}; "
                f"expected no such {name}: it is for counts, not for their logarithms"
            )


def check_numbers(hold_out_fraction, shards, seed=0):
    """Refuse numbers out of range."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; expected 0 or more, below 2**32")
    if not 0 <= hold_out_fraction < 1:
        raise ValueError(f"hold_out_fraction is {hold_out_fraction}; expected 0 <= fraction < 1")
    if shards is not None and shards < 1:
        raise ValueError(f"shards is {shards}; expected 1 or more")


def check_labels(labels):
    """Refuse a column that is named twice."""
    if twice := sorted({name for name in labels if list(labels).count(name) > 1}):
        raise ValueError(f"labels: found {twice[0]!r} twice; expected each column once (--labels)")


def check_manifest_alone(only, allow_different_counts):
    """Refuse what a manifest alone has where there is none."""
    for name, given in (("only", only), ("allow_different_counts", allow_different_counts)):
        if given:
            raise ValueError(f"{name}: found {given!r}, expected a manifest beside it (--manifest)")


def check_datasets(inputs):
    """Refuse a column that no source has, and more datasets than records can tell apart."""
    for column in {one.measured_by for one in inputs} - {None}:
        if all(column not in one.source.obs for one in inputs):
            raise ValueError(f"column {column!r}: {lacking(inputs[0].source)} (--measured-by)")
    datasets = sum(len(divide(one.source, one.measured_by)[1]) for one in inputs)
    if datasets > MAX_DATASETS:
        raise ValueError(
            f"{datasets} datasets of {len(inputs)} files; a store takes {MAX_DATASETS} at most; "
            "make several stores"
        )


def check_splits(splits, asked):
    """Refuse a split without cells for training, or for validation where that was asked for."""
    if not any((s == TRAIN).any() for s in splits):
        raise ValueError("no cell is left for training: hold out fewer (--hold-out …)")
    if asked and not any((s == VALID).any() for s in splits):
        raise ValueError(
            "no cell is left for validation: all held-out cells fell below --min-genes (or another "
            "filter), or the fraction is too small for so few cells"
        )
