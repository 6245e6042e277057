"""Inputs of `prepare` whose values, genes, cells or labels are wrong: each with its message."""

import os
import re
import shutil

import numpy as np
import pytest

from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from tests.data.bad_files import (
    MOUSE,
    Bad,
    at,
    barnyard,
    changed,
    genes_wanted,
    in_two,
    link,
    normalised,
    of,
    of_species,
    one_line,
    options,
    put,
    refused,
    scaled,
    twice_the_same,
    with_objects,
    with_obs,
)  # fmt: skip
from tests.data.conftest import ENSEMBL, GENES, cells, counts

pytestmark = pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique")
MOUSE_IDS = [e.replace("ENSG", "ENSMUSG") for e in ENSEMBL]
FILE, X = r"cells\.h5ad", r"cells\.h5ad, X"
WHERE = "--counts layers/NAME"
RECORDS = np.dtype([("a", "f4"), ("b", "i4")])
CASES = {
    # The kind of its values.
    "True and False": Bad(of(cells(counts() > 0)), (X, "True and False .*: these are not counts")),
    "complex": Bad(
        changed(put("X", np.complex64), np.asarray), (X, "complex numbers .*expected counts")
    ),
    "complex and sparse": Bad(changed(put("X/data", np.complex64)), (X, "complex numbers")),
    "text": Bad(
        changed(put("X", lambda x: x.astype(int).astype("S4")), np.asarray), (X, "are text")
    ),
    "objects in a file": Bad(
        changed(put("X", lambda x: x.astype(str).astype(object)), np.asarray), (X, "text or objec")
    ),
    "objects": Bad(lambda f: with_objects(), ("AnnData, X: the values are text or objects",)),
    "records": Bad(
        changed(put("X", lambda x: np.zeros(x.shape, RECORDS)), np.asarray),
        (X, "records of several fields"),
    ),
    # The values.
    "NaN": Bad(of(cells(at((3, 3), np.nan)(counts()))), (X, "1 of .* NaN or infinite", WHERE)),
    "infinite": Bad(of(cells(at((3, 3), np.inf)(counts()))), (X, "1 of .* NaN or infinite", WHERE)),
    "negative": Bad(of(cells(at((3, 3), -1)(counts()))), (X, r"below zero \(least -1\)", WHERE)),
    "z-scored": Bad(of(scaled), (X, "below zero .*z-scored", WHERE)),
    "log-normalised": Bad(
        of(lambda: normalised(True)), (X, "log-normalised to a total of about 1e.04", WHERE)
    ),
    "log1p with counts elsewhere": Bad(
        of(cells(np.log1p(counts()), detected=counts() > 0, umi=counts())),
        (X, "log1p of counts", r"Counts were found in layers/umi \(--counts layers/umi\)$"),
    ),
    "library size": Bad(
        of(lambda: normalised(False)), (X, "library-size normalised to a total .* 1e.04", WHERE)
    ),
    "not integers": Bad(
        of(cells(counts() * 27.4)), (X, "not integers .*estimated", "--allow-non-integer")
    ),
    "astronomical": Bad(of(cells(counts() * 1e30)), (X, "values up to 1e.31; counts are below 42")),
    "nothing but zeros": Bad(of(cells(counts() * 0)), (X, "all 30 cells are empty")),
    # The genes.
    "two species by symbols": Bad(
        of_species(GENES, MOUSE),
        ("mixed species", r"human\.h5ad: human", r"mouse\.h5ad: mouse or rat", "--gene-map"),
    ),
    "two species by ids": Bad(
        of_species(ENSEMBL, MOUSE_IDS), ("mixed species", "8 human ids", "8 mouse ids")
    ),
    "two species in a file": Bad(barnyard, ("mixed species", FILE, "5 of human, 3 of mouse")),
    "genes twice": Bad(
        of(lambda: cells(symbols=["A", "A", *GENES[2:]])),
        (FILE, "1 genes stand in more than one column: A.", "--duplicates sum"),
    ),
    "no gene known": Bad(
        of(cells(symbols=[f"q{i}" for i in range(8)])),
        (FILE, "no gene matches the vocabulary: the file has q0, q1, q2, the voc.*TP53, GAPDH"),
        genes_wanted(*GENES),
    ),
    "no gene known but for case": Bad(
        of(cells(symbols=MOUSE)), (FILE, "if case were ignored: is this another species"),
        genes_wanted(*GENES),
    ),
    "no names of genes": Bad(of(lambda: cells(symbols=[""] * 8)), (FILE, "has no gene names")),
    "numbers for names": Bad(of(cells(symbols=list("01234567"))), (FILE, "has no gene names")),
    # The cells.
    "the same path twice": Bad(lambda f: [of(cells())(f)] * 2, (FILE, "is given twice")),
    "a symbolic link": Bad(in_two(link(os.symlink)), (r"b\.h5ad is given twice|a\.h5ad is giv",)),
    "a hard link": Bad(
        in_two(link(os.link)), (r"b\.h5ad: 30 of its cells are in .*a\.h5ad too",)
    ),
    "a copy": Bad(
        in_two(link(shutil.copy)),
        (r"b\.h5ad: 30 of its cells are in .*a\.h5ad too", "30 names are in both, 30 of them"),
    ),
    "a copy held out": Bad(
        of(cells(), "a.h5ad"), (r"b\.h5ad: 30 of its cells are in .*a\.h5ad too",),
        lambda f: {"hold_out_file": shutil.copy(f / "a.h5ad", f / "b.h5ad")},
    ),
    "half of another file": Bad(
        in_two(lambda f, first: of(cells()[::2].copy(), "b.h5ad")(f)),
        (r"b\.h5ad: 15 of its cells are in .*a\.h5ad too", "Expected each cell once"),
    ),
    "its own cells again": Bad(
        of(twice_the_same),
        (FILE, "30 of 60 cells have a name that another has", "30 of them its depth", "the same"),
    ),
    # The labels and the split.
    "no label column": Bad(
        of(cells()), ("label column 'tissue': ", FILE, "it has: batch, type"),
        options(labels=["tissue"]),
    ),
    "a label without values": Bad(
        of(with_obs(tissue=np.nan)), ("label column 'tissue'", FILE, "no kept cell .*expected one"),
        options(labels=["tissue"]),
    ),
    "a label of unknowns": Bad(
        of(with_obs(tissue="unknown")), ("label column 'tissue'", FILE, "no kept cell"),
        options(labels=["tissue"]),
    ),
    "no such value held out": Bad(
        of(cells()), ("batch=z: no cell has this value; batch has: a, b, c",),
        options(hold_out=["batch=z"]),
    ),
    "everything held out": Bad(
        of(cells()), ("no cell is left for training",),
        options(hold_out=["batch=a", "batch=b", "batch=c"]),
    ),
    "no batch for a panel": Bad(
        of(with_obs(panel=[None, *"a" * 29])), (FILE, "panel is empty .* for 1 of 30 cells"),
        options(measured_by="panel"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_with_nothing_made(folders, name, monkeypatch):
    refused(CASES[name], *folders, monkeypatch)


def few_known():
    names = [*GENES[:6], *(f"Q{i}" for i in range(194))]
    return cells(counts(30, 200), symbols=names)


def two_of_a_name():
    adata = cells()
    adata.obs_names = ["cell1", *adata.obs_names[1:]]
    return adata


WARNED = {
    "only 0 and 1": Bad(of(cells((counts(400) > 0).astype(np.float32))), (X, "looks binarised")),
    "3 % of the genes": Bad(
        of(few_known), (FILE, r"only 6 of 200 columns .* 200 genes of the voc.* \(3.0% of"),
        genes_wanted(*GENES[:6], *(f"Z{i}" for i in range(194))),
    ),
    "names twice for other cells": Bad(
        of(two_of_a_name), (FILE, "1 of 30 cells have a name .*'cell1'", "different cells")
    ),
    "not integers, as asked": Bad(
        of(cells(counts() * 27.4)), (FILE, "non-integer values taken as they are"),
        options(allow_non_integer=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_taken_with_a_warning(folders, name):
    case, (inputs, out) = WARNED[name], folders
    files, given = case.make(inputs), case.options(inputs)
    with pytest.warns(UserWarning, match=case.words[0]) as caught:
        prepare(out / "store", files, progress=False, **given)
    (message,) = {str(one.message) for one in caught}
    for word in case.words:
        assert re.search(word, message)
    Store.open(out / "store").verify()
    assert [p.name for p in out.iterdir()] == ["store"]


def test_a_gene_without_a_name_is_left_out_and_counted(folders):
    inputs, out = folders
    store = prepare(out / "store", of(cells(symbols=["", *GENES[1:]]))(inputs), progress=False)
    assert store.vocabulary.symbols == tuple(GENES[1:])
    assert store.datasets[0]["unmatched"] == 1


def test_orthologs_make_one_species_of_two(folders):
    inputs, out = folders
    files = of_species(ENSEMBL, MOUSE_IDS)(inputs)
    lines = [f"{e}\t{g}\t{m}" for e, g, m in zip(ENSEMBL, GENES, MOUSE_IDS, strict=True)]
    (inputs / "map.tsv").write_text("\n".join(lines))
    store = prepare(out / "store", files, gene_map=inputs / "map.tsv", progress=False)
    assert (len(store.vocabulary), sum(store.sizes.values())) == (8, 60)


@pytest.mark.parametrize("name", ["log-normalised", "a copy"])
def test_one_line_on_the_command_line(folders, name, capfd):
    one_line(CASES[name], *folders, capfd)
