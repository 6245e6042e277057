"""Of each source what the writer takes and the store says of it."""

import numpy as np

from jaxcell.data.filters import CELL_FILTERS, GENE_FILTERS, REMOVED, fact
from jaxcell.data.preparing.writer import Part
from jaxcell.data.splits import TRAIN, VALID, label_codes, missing_values

# What a fact of datasets.json counts: the cells with this number in `Survey.removed`.
REMOVES = {
    i: fact(name) if name in CELL_FILTERS else name for i, name in enumerate(REMOVED) if name
}


def part_of(v, split, wanted, classes, *, checksum, measured_by, values):
    """A source as the writer takes it: columns renumbered to the wanted genes.

    Parameters
    ----------
    v : Survey
    split : i8 [cells of the source]
    wanted : bool [V before]
        Genes of the store.
    classes : dict
        {obs column: names of its classes}.
    checksum : str
        Of the source.
    measured_by, values
        As `prepare` takes them.
    """
    new = np.where(v.filtered & wanted, np.cumsum(wanted) - 1, -1)
    columns = np.where(v.match.columns >= 0, new[v.match.columns], -1).astype(np.int32)
    source, n_var = v.source, len(v.match.columns)
    facts = {
        "source": source.name,
        "counts": source.counts,
        "values": values,
        "checksum": checksum,
        "genes": n_var,
        "unmatched": len(v.match.unmatched),
        "duplicated": len(v.match.duplicated),
        **{fact(name): v.few.get(name, 0) for name in GENE_FILTERS},
        "non_integer": v.looks,
        "without_labels": [column for column in classes if column not in source.obs],
        "missing_values": missing_values(v, classes),
        "match": v.match.report(),
    }
    each = []
    for i, value in enumerate(v.values):
        mine = v.dataset == i
        each.append(
            {
                **facts,
                "measured_by": measured_by if value else None,
                "value": value,
                "cells": int(mine.sum()),
                **{name: int((mine & (v.removed == i)).sum()) for i, name in REMOVES.items()},
                "train": int((mine & (split == TRAIN)).sum()),
                "valid": int((mine & (split == VALID)).sum()),
                "undetected": int((v.filtered & ~v.measured[i]).sum()),
                "not_chosen": int((v.measured[i] & ~wanted).sum()),
                "measured": int((v.measured[i] & wanted).sum()),
            }
        )
    codes = [label_codes(source, column, names) for column, names in classes.items()]
    labels = np.stack(codes, axis=1) if codes else np.empty((source.n_cells, 0), np.int32)
    return Part(source, columns, v.measured[:, wanted], v.dataset, split, v.total, labels, each)
