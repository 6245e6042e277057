"""What each field of a manifest may hold: tables of checks, and the errors they raise.

The fields of a file; all but name and sources may be left out, and null leaves out what a base
says::

    base: diverse_rna          # a shipped name, or a file beside this one: fields below change its
    remove: [tcga]             # sources of the base to leave out; sources of a name are changed
    name, about, paper: texts
    sources:                   # each with
      - name: mine             # of the corpus' own
        path: mine/*.h5ad      # in --data: a file, folder, pattern, soma:…; or a list. Two sources
                               # may name a file if they choose other cells of it (keep, …)
        where: GSE…            # where it is to be had; told when it is missing
        counts, identifiers, duplicates, allow_non_integer, measured_by, features, genes_in: as
                               # options of `prepare`; value_filter, measurement: of SOMA
        labels: {cell_type: their_column, tissue: null}   # null: there is none. Or of the same name
        dataset: donor         # column of its datasets, for splits and caps; else each file is one
        keep: {gene: [non-targeting]}   # cells with these values of a column
        share: 0.1             # of the cells, drawn by seed; then at `most` so many
        split: valid           # or train: all its cells
        filters: …             # over those of the corpus, field by field
        expect: …              # as of the corpus
    filters: {min_genes: 200}  # `jaxcell.data.filters`; cells first, then genes, per source
    labels:
      cell_type: {ontology: cl.obo, map: names.tsv, unresolved: unknown}
                               # their text → ours by `map`, then the id of the term (ontology: a
                               # file, or cellxgene); error by default where there is none
    caps: {dataset: 5000, cell_type: 20000}   # most cells of each, drawn by seed, one cap after
                               # the other, over all sources; after the filters, which count all
    split: {by: dataset, share: 0.2, types: cell_type, hold_out: [batch=x]}   # or by: cell
    vocabulary: {file: genes.txt, where: …, genes: 19362}
    hvg: {number: 1000, flavor: bioformer, batch: donor}
    values, gene_map, orthologs, seed, shards: as options of `prepare`
    compute: {cells: 1434299, epochs: 200, times: 2}   # prepare tells the epochs for as much
    expect: {cells: 1.4M, genes: 44349, datasets: 9, train: …, valid: …, train_datasets: …,
             valid_datasets: …, classes: {cell_type: 30+}}   # of what is written

A number is written as the paper has it: 932K means 931 500 to 932 500, 30K+ at least that, and one
without a unit itself.

A check takes (value, where) and gives the value as the corpus uses it. ``where`` is 'FILE: path of
the field', as in 'mine.yaml: sources[3].counts'.
"""

import math
import re
from dataclasses import dataclass, fields

from jaxcell.data.filters import Filters
from jaxcell.data.genes import IDENTIFIERS
from jaxcell.data.matching import DUPLICATES
from jaxcell.data.store import VALUES
from jaxcell.data.variable_genes import FLAVORS

_COUNT = re.compile(r"(\d[\d,]*)(\.\d+)?\s*([KkM]?)(\+?)")
_UNITS = {"": 1, "K": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Count:
    """A number as a paper writes it, and what it can mean: 932K is 931 500 to 932 500.

    A number without a unit is exact; with a + it is at least that.
    """

    text: str
    low: float
    high: float

    def __contains__(self, number):
        return self.low <= number <= self.high

    def __str__(self):
        return self.text


def fail(where, found, expected):
    """Raise the one error of a wrong field."""
    note = ""
    if isinstance(found, bool):
        note = " (YAML reads yes, no, on and off as true and false: put a word between quotes)"
    raise ValueError(f"{where}: found {found!r}, expected {expected}{note}")


def text(value, where):
    """A text that is not empty."""
    return value if isinstance(value, str) and value.strip() else fail(where, value, "a text")


def whole(value, where):
    """A whole number, 0 or more."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return fail(where, value, "a whole number, 0 or more")


def some(value, where):
    """A whole number above 0."""
    return whole(value, where) or fail(where, value, "a whole number above 0")


def amount(value, where):
    """A number, 0 or more."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value
    return fail(where, value, "a number, 0 or more")


def share(value, where):
    """A number from 0 to 1."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return value
    return fail(where, value, "a share from 0 to 1")


def truth(value, where):
    """True or False."""
    return value if isinstance(value, bool) else fail(where, value, "true or false")


def count(value, where):
    """A number as a paper writes it: 502,080, 932K, 1.4M or 30K+ -> Count."""
    found = None if isinstance(value, bool) else _COUNT.fullmatch(str(value).strip())
    if not found:
        return fail(where, value, "a number as the paper writes it: 502080, 932K, 1.4M, 30K+")
    digits, point, unit, more = found.groups()
    unit = _UNITS[unit.upper()]
    number = float(digits.replace(",", "") + (point or "")) * unit
    half = unit * 10.0 ** -(len(point) - 1 if point else 0) / 2 if unit > 1 else 0
    if point and not half:
        return fail(where, value, "a whole number")
    if more:
        return Count(str(value), number, math.inf)
    return Count(f"{number:,.0f}" if not half else str(value), number - half, number + half)


def one_of(*known):
    """A check: one of these words."""

    def check(value, where):
        return value if value in known else fail(where, value, f"one of {', '.join(known)}")

    return check


def texts(value, where):
    """A text, or a list of texts -> list."""
    values = value if isinstance(value, list) else [value]
    if not values:
        fail(where, value, "a text, or a list of them")
    return [
        text(one, f"{where}[{i}]" if one is not value else where) for i, one in enumerate(values)
    ]


def each(check):
    """A check of every value of a mapping {text: …}."""

    def check_each(value, where):
        if not isinstance(value, dict):
            fail(where, value, "a mapping of names")
        return {text(k, where): check(one, f"{where}.{k}") for k, one in value.items()}

    return check_each


def table(known):
    """A check of a mapping with these fields; null leaves a field as if it were not there."""

    def check_table(value, where):
        if not isinstance(value, dict):
            fail(where, value, f"a mapping with some of {', '.join(known)}")
        unknown = [str(name) for name in value if name not in known]
        if unknown:
            raise ValueError(
                f"{where.removesuffix(': ')}: found the unknown field {unknown[0]!r}, expected "
                f"some of {', '.join(sorted(known))}"
            )
        inside = "" if where.endswith(": ") else "."
        return {
            name: None if one is None else known[name](one, f"{where}{inside}{name}")
            for name, one in value.items()
        }

    return check_table


def filters(value, where):
    """Thresholds of `Filters` -> dict."""
    found = table(FILTERS)(value, where)
    try:
        Filters(**{name: one for name, one in found.items() if one is not None})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return found


def or_null(check):
    """A check that lets null through."""
    return lambda value, where: None if value is None else check(value, where)


def label(value, where):
    """The options of a label; null for none of them."""
    return {} if value is None else table(LABEL)(value, where)


def changes(value, where):
    """Their text → ours: a file (tab-separated: text first, ours last) or a mapping."""
    if isinstance(value, dict):
        return each(text)(value, where)
    return text(value, where)


FILTERS = {
    f.name: whole if f.name.endswith(("genes", "cells")) else amount for f in fields(Filters)
}
FILTERS |= {"max_mito": share, "min_frequency": share, "mito_prefix": text}
CAPS = each(or_null(some))
LABEL = {"ontology": text, "map": changes, "unresolved": one_of("error", "unknown")}
SPLIT = {"by": one_of("dataset", "cell"), "share": share, "types": text, "hold_out": texts}
EXPECT = dict.fromkeys(("cells", "genes", "datasets", "train", "valid"), count)
EXPECT |= {"train_datasets": count, "valid_datasets": count, "classes": each(count)}
SOURCE = {
    "name": text, "path": texts, "about": text, "where": text, "counts": text,
    "identifiers": one_of(*IDENTIFIERS), "duplicates": one_of(*DUPLICATES),
    "allow_non_integer": truth, "measured_by": text, "dataset": text, "labels": each(or_null(text)),
    "keep": each(texts), "share": share, "most": some, "filters": filters,
    "split": one_of("train", "valid"), "expect": table(EXPECT), "features": texts,
    "value_filter": text, "measurement": text, "genes_in": one_of("rows", "columns"),
}  # fmt: skip
VOCABULARY = {"file": text, "where": text, "genes": count}
COMPUTE = {"cells": some, "epochs": some, "times": amount}
HVG = {"number": some, "flavor": one_of(*FLAVORS), "batch": text}
CORPUS = {
    "name": text, "about": text, "paper": text, "base": text, "remove": texts,
    "filters": filters, "caps": CAPS, "labels": each(label), "split": table(SPLIT),
    "vocabulary": table(VOCABULARY), "gene_map": text, "orthologs": text, "values": one_of(*VALUES),
    "hvg": table(HVG), "seed": whole, "shards": some, "compute": table(COMPUTE),
    "expect": table(EXPECT),
}  # fmt: skip
