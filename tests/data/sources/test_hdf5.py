"""Compressed h5ad: what h5py reads itself, and what hdf5plugin reads."""

import subprocess
import sys

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.sources import hdf5, open_source
from tests.conftest import ROOT
from tests.data.conftest import cells, counts
from tests.data.sources.conftest import check

FORMS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}


def write(path, form, **compression):
    with h5py.File(path, "w") as file:
        anndata.io.write_elem(file, "X", FORMS[form](counts()), dataset_kwargs=compression)
        anndata.io.write_elem(file, "obs", cells().obs)
        anndata.io.write_elem(file, "var", cells().var)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_compressions_of_h5py(tmp_path, form, compression):
    path = write(tmp_path / "cells.h5ad", form, compression=compression, shuffle=True)
    check(open_source(path, chunk_cells=7), counts())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compression", ["Zstd", "Blosc"])
def test_compressions_of_hdf5plugin(tmp_path, form, compression):
    plugin = pytest.importorskip("hdf5plugin")
    path = write(tmp_path / "cells.h5ad", form, **getattr(plugin, compression)())
    check(open_source(path, chunk_cells=7), counts())


def test_a_process_without_the_filter_imports_the_plugin_or_names_the_extra(tmp_path):
    plugin = pytest.importorskip("hdf5plugin")
    path = write(tmp_path / "cells.h5ad", "csr", **plugin.Zstd())
    code = f"""
import sys
from jaxcell.data.sources import open_source
sys.modules["hdf5plugin"] = None
try:
    open_source({str(path)!r})
except ImportError as error:
    print(error)
del sys.modules["hdf5plugin"]
print(sum(c.sum() for c in open_source({str(path)!r}).chunks()))
"""
    run = dict(cwd=ROOT, capture_output=True, text=True, check=True)
    error, total = subprocess.run([sys.executable, "-c", code], **run).stdout.splitlines()
    assert error.endswith("which hdf5plugin reads: pip install 'jaxcell[hdf5]'")
    assert "(HDF5 filter 32015)" in error
    assert float(total) == counts().sum()


def test_a_filter_that_nothing_reads(tmp_path, monkeypatch):
    path = write(tmp_path / "cells.h5ad", "csr", compression="gzip")
    monkeypatch.setitem(sys.modules, "hdf5plugin", type(sys)("hdf5plugin"))
    monkeypatch.setattr(hdf5.h5z, "filter_avail", lambda number: False)
    with pytest.raises(ValueError, match=r"compressed by deflate \(HDF5 filter 1\), which neither"):
        open_source(path)
