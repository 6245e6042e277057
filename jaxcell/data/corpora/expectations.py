"""Do the sources hold what the paper's tables say? Numbers beside `expect` of a manifest.

n cells of a source, V genes.
"""

import warnings

import numpy as np

from jaxcell.data.corpora.corpus import dataset_codes
from jaxcell.data.splits import DROPPED, TRAIN, VALID, label_codes, present_classes

DIFFER = "is it another release, or other filters? --allow-different-counts goes on with a warning"


def check_before(order):
    """Refuse files that hold less than is expected, before anything of them is read.

    Raises
    ------
    ValueError
        Fewer cells or genes than `expect` of a source, or other datasets; all of them.

    Warns
    -----
    UserWarning
        The same, where they are allowed.
    """
    lines = []
    for entry, mine in _by_entry(order.inputs):
        cells = sum(one.source.n_cells for one in mine)
        genes = sum(len(one.source.var) for one in mine)  # at most: files may share genes
        for name, number in (("cells", cells), ("genes", genes)):
            expected = entry.expect.get(name)
            if expected and number < expected.low:
                lines.append(
                    f"{entry.at}.expect.{name}: found {number:,} before any filter, expected "
                    f"{expected}"
                )
        expected, number = entry.expect.get("datasets"), len(dataset_codes(mine)[1])
        if expected and number not in expected:
            lines.append(f"{entry.at}.expect.datasets: found {number:,}, expected {expected}")
    _report(order, lines)


def check_after(order, surveys, splits, wanted):
    """Compare what will be written with what is expected, of each source and of the corpus.

    Of the corpus only where all its sources are there.

    Parameters
    ----------
    order : Order, of a manifest
    surveys : list of Survey, of its inputs
    splits : list of i8 [n]
    wanted : bool [V]
        Genes of the store.

    Raises
    ------
    ValueError
        Numbers that differ: all of them, with the manifest's field, found and expected.
    """
    lines, manifest, inputs = [], order.manifest, order.inputs
    at = {id(one): i for i, one in enumerate(inputs)}
    for entry, mine in _by_entry(inputs):
        places = [at[id(one)] for one in mine]
        found = _numbers(
            mine, [surveys[i] for i in places], [splits[i] for i in places], wanted, entry.expect
        )
        lines += _differences(found, entry.expect, f"{entry.at}.expect")
    if order.whole:
        found = _numbers(inputs, surveys, splits, wanted, manifest.expect)
        found["genes"] = int(wanted.sum())
        lines += _differences(found, manifest.expect, f"{manifest.file}: expect")
    _report(order, lines)


def check_vocabulary(order, genes):
    """Compare the number of genes of the manifest's vocabulary with what is expected."""
    expected = order.manifest.vocabulary.get("genes")
    if expected and len(genes) not in expected:
        where = f"{order.manifest.file}: vocabulary.genes"
        _report(order, [f"{where}: found {len(genes):,}, expected {expected}"])


def _by_entry(inputs):
    """(Entry, its inputs) in the order of the manifest."""
    names = list(dict.fromkeys(one.entry.name for one in inputs))
    for name in names:
        mine = [one for one in inputs if one.entry.name == name]
        yield mine[0].entry, mine


def _numbers(inputs, surveys, splits, wanted, expect):
    """What is there of everything that can be expected; classes only of labels that are."""
    codes, names = dataset_codes(inputs)
    present = {s: np.zeros(len(names), bool) for s in (TRAIN, VALID)}
    sizes = dict.fromkeys((TRAIN, VALID), 0)
    for dataset, split in zip(codes, splits, strict=True):
        for s in (TRAIN, VALID):
            sizes[s] += int((split == s).sum())
            present[s][np.unique(dataset[split == s])] = True
    genes = np.any([v.measured.any(axis=0) for v in surveys], axis=0) & wanted
    return {
        "cells": sizes[TRAIN] + sizes[VALID],
        "genes": int(genes.sum()),
        "train": sizes[TRAIN],
        "valid": sizes[VALID],
        "datasets": int((present[TRAIN] | present[VALID]).sum()),
        "train_datasets": int(present[TRAIN].sum()),
        "valid_datasets": int(present[VALID].sum()),
        "classes": {c: _n_classes(c, surveys, splits) for c in expect.get("classes", {})},
    }


def _n_classes(column, surveys, splits):
    """Classes of a label among the cells that are written."""
    names = present_classes(column, surveys)
    there = np.zeros(len(names), bool)
    for v, split in zip(surveys, splits, strict=True):
        code = label_codes(v.source, column, names)[split != DROPPED]
        there[np.unique(code[code >= 0])] = True
    return int(there.sum())


def _differences(found, expect, where):
    lines = []
    for name, expected in expect.items():
        if name == "classes":
            lines += _differences(found["classes"], expected, f"{where}.classes")
        elif found[name] not in expected:
            lines.append(f"{where}.{name}: found {found[name]:,}, expected {expected}")
    return lines


def _report(order, lines):
    if not lines:
        return
    said = order.manifest.paper or order.manifest.file
    text = f"{len(lines)} numbers differ from what {said} says:\n  " + "\n  ".join(lines)
    if not order.allow:
        raise ValueError(f"{text}\n{DIFFER}")
    warnings.warn(text, stacklevel=4)
