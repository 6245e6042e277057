"""What `prepare` refuses of what it is asked, before anything is written."""

import os

from jaxcell.data.records import MAX_DATASETS
from jaxcell.data.splits import TRAIN, VALID, lacking
from jaxcell.data.store import VALUES
from jaxcell.data.survey import divide


def check_output(out):
    """Refuse a store that exists, or that cannot be made."""
    if out.exists():
        raise FileExistsError(f"{out} exists already: remove it, or choose another output")
    parent = next(p for p in out.absolute().parents if p.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ValueError(f"{out} cannot be made: {parent} is not a folder one can write to")


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


def check_numbers(hold_out_fraction, min_genes, min_cells, shards):
    """Refuse numbers out of range."""
    if not 0 <= hold_out_fraction < 1:
        raise ValueError(f"hold_out_fraction is {hold_out_fraction}; expected 0 <= fraction < 1")
    for name, fewest in (("min_genes", min_genes), ("min_cells", min_cells)):
        if fewest < 0:
            raise ValueError(f"{name} is {fewest}; expected 0 or more")
    if shards is not None and shards < 1:
        raise ValueError(f"shards is {shards}; expected 1 or more")


def check_datasets(sources, measured_by):
    """Refuse a column that no source has, and more datasets than records can tell apart."""
    if measured_by and all(measured_by not in source.obs for source in sources):
        raise ValueError(f"column {measured_by!r}: {lacking(sources[0])} (--measured-by)")
    datasets = sum(len(divide(source, measured_by)[1]) for source in sources)
    if datasets > MAX_DATASETS:
        raise ValueError(
            f"{datasets} datasets of {len(sources)} files; a store takes {MAX_DATASETS} at most"
        )


def check_splits(splits, asked):
    """Refuse a split without cells for training, or for validation where that was asked for."""
    if not any((s == TRAIN).any() for s in splits):
        raise ValueError("no cell is left for training: hold out fewer (--hold-out …)")
    if asked and not any((s == VALID).any() for s in splits):
        raise ValueError(
            "no cell is left for validation: all held-out cells fell below --min-genes, or the "
            "fraction is too small for so few cells"
        )


def check_classes(classes, sources):
    """A label column must have a class in some kept cell: {column: [classes]}."""
    for column, found in classes.items():
        if not found:
            raise ValueError(
                f"label column {column!r}: no kept cell of {', '.join(s.name for s in sources)} "
                "has a value there; expected one at least (--labels)"
            )
