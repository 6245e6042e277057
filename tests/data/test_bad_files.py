"""Inputs of `prepare` whose files or matrices are broken: each with the words of its message."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.prepare import prepare
from tests.data.bad_files import (
    Bad,
    as_frame,
    at,
    changed,
    of,
    one_line,
    only_a_matrix,
    options,
    overwritten,
    put,
    refused,
    shortened,
    without_encoding,
    written,
)  # fmt: skip
from tests.data.conftest import cells, counts

pytestmark = pytest.mark.filterwarnings(
    "ignore:Element '/(obs|var)' was written without encoding metadata"
)
FILE, X = r"cells\.h5ad", r"cells\.h5ad, X"
NOT_THERE = lambda folder: folder / "absent.h5ad"
CASES = {
    # The file.
    "no such file": Bad(NOT_THERE, (r"absent\.h5ad does not exist",)),
    "empty file": Bad(written(b""), (FILE, r"is empty \(0 bytes\)")),
    "half a file": Bad(shortened(0.5), (FILE, "truncated or damaged", "truncated file")),
    "20 bytes of it": Bad(shortened(0.0005), (FILE, "truncated or damaged")),
    "bytes overwritten": Bad(overwritten, (FILE, "truncated or damaged", "filter returned fail")),
    "not HDF5": Bad(written(b"cell,gene\n" * 99), (FILE, "is not an HDF5 file")),
    "HDF5 but no AnnData": Bad(only_a_matrix, (FILE, r"has \['matrix'\], not obs and var")),
    "obs is no table": Bad(without_encoding, (FILE, "found obs as ndarray, expected a table")),
    "a folder": Bad(lambda f: f, ("known: FILE.h5ad",)),
    "a folder named h5ad": Bad(
        lambda f: (f / "cells.h5ad").mkdir() or f / "cells.h5ad",
        (FILE, "holds no input that is known; known: "),
    ),
    "another kind of file": Bad(
        written(b"a", "cells.docx"), (r"cells\.docx", "unknown kind of input '.docx'; known: ")
    ),
    # The matrix.
    "X and obs differ": Bad(
        changed(put("X", lambda x: x[:29]), np.asarray), (FILE, "X is 29 × 8, .* are 30 × 8")
    ),
    "X of one dimension": Bad(
        changed(put("X", np.ravel), np.asarray), (FILE, "X is 240, obs and var are 30 × 8")
    ),
    "shape of a sparse X": Bad(
        changed(lambda f: f["X"].attrs.modify("shape", (31, 8))), (FILE, "X is 31 × 8, obs and")
    ),
    "names of obs lack one": Bad(
        changed(put("obs/_index", lambda x: x[:29])), (FILE, "obs cannot be read: Length of val")
    ),
    "no matrix": Bad(changed(lambda f: f.pop("X")), (FILE, "no counts at 'X'; it has no matrix")),
    "X is a table": Bad(changed(as_frame), (X, "is no matrix: .* expected indptr")),
    "no pointers": Bad(changed(lambda f: f["X"].pop("indptr")), (X, "is no matrix: .*expected in")),
    "pointers fall": Bad(
        changed(put("X/indptr", at(5, 99))), (X, "pointer 6 falls from 99 to .*; expected")
    ),
    "pointers fall in CSC": Bad(
        changed(put("X/indptr", at(3, 131)), sp.csc_matrix), (X, "pointer 4 falls from 131 to")
    ),
    "pointers begin late": Bad(changed(put("X/indptr", at(0, 1))), (X, "pointers from 1 to 132")),
    "a pointer lacks": Bad(
        changed(put("X/indptr", lambda x: np.delete(x, 3))), (X, "30 pointers, expected 31")
    ),
    "a value lacks": Bad(
        changed(put("X/data", lambda x: x[:-1])), (X, "132 indices and 131 values, .* expected as")
    ),
    "gene below 0": Bad(
        changed(put("X/indices", at(4, -1))), (X, "an index -1 among 8 genes; expected 0 to 7")
    ),
    "gene beyond the last": Bad(
        changed(put("X/indices", at(4, 8))), (X, "an index 8 among 8 genes; expected 0 to 7")
    ),
    "cell below 0 in CSC": Bad(
        changed(put("X/indices", at(4, -1)), sp.csc_matrix), (X, "an index -1 among 30 cells")
    ),
    "cell beyond the last in CSC": Bad(
        changed(put("X/indices", at(4, 30)), sp.csc_matrix), (X, "an index 30 among 30 cells")
    ),
    "indices with a point": Bad(
        changed(put("X/indices", np.float32)), (X, "its indices are float32, expected integers")
    ),
    "another sparse format": Bad(
        changed(lambda f: f["X"].attrs.modify("encoding-type", "coo_matrix")),
        (FILE, "found 'coo_matrix', expected csr_matrix or csc_matrix"),
    ),
    "zero cells": Bad(of(cells(np.zeros((0, 8)))), (FILE, "is empty: 0 cells × 8 genes at X")),
    "zero genes": Bad(of(cells(np.zeros((8, 0)))), (FILE, "is empty: 8 cells × 0 genes at X")),
    "no such layer": Bad(
        of(cells(umi=counts())), (FILE, "no counts at 'layers/q'; it has X, layers/umi"),
        options(counts="layers/q"),
    ),
    "no raw": Bad(of(cells()), (FILE, "no counts at 'raw'; it has X"), options(counts="raw")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_with_nothing_made(folders, name, monkeypatch):
    refused(CASES[name], *folders, monkeypatch)


def test_a_file_that_may_not_be_read(folders, monkeypatch):
    inputs, out = folders
    path, opened = of(cells())(inputs), Path.open

    def refused(self, *args, **kwargs):  # root may read everything: no chmod would refuse it
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError, match=r"cells\.h5ad cannot be read: Permission denied"):
        prepare(out / "store", path, progress=False)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["no such file", "half a file", "pointers fall"])
def test_one_line_on_the_command_line(folders, name, capfd):
    one_line(CASES[name], *folders, capfd)
