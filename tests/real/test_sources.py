"""Real files written anew as every other kind of source: the same store comes out."""

import gzip
import os
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import jaxcell
from tests.conftest import ROOT
from tests.data.sources.conftest import write_soma

DATA = Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data folder at {DATA}; set JAXCELL_DATA"),
]
FILES = {  # with labels that the kinds keep which have labels
    "pbmc_5batch_fullgenes": ("cell_type_coarse", "batch"),
    "pbmc3k_500x13865": ("cell_type",),
    "scmixology_5batch": ("cell_line", "batch"),
    "crohn_gut_1020x18708_scp1884": ("donor",),
}


def soma(adata, folder):
    pytest.importorskip("tiledbsoma")
    return write_soma(folder, adata)


def zarr(adata, folder, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata's next default format, of strings in format 3
        with anndata.settings.override(zarr_write_format=version):
            adata.write_zarr(folder)
    return folder


def zarr_csc(adata, folder):
    turned = adata.copy()
    turned.X = turned.X.tocsc()
    return zarr(turned, folder, 3)


KINDS_WITH_LABELS = {
    "soma": soma,
    "zarr2.zarr": lambda adata, folder: zarr(adata, folder, 2),
    "zarr3.zarr": lambda adata, folder: zarr(adata, folder, 3),
    "csc.zarr": zarr_csc,
}


def features(adata):
    """Ensembl id, or the symbol where there is none; and the symbol, or what the file has."""
    symbols = adata.var["symbol"].astype(str)
    symbols = symbols.where(symbols != "", adata.var_names)
    ids = adata.var["ensembl_id"].astype(str)
    return ids.where(ids != "", symbols).tolist(), symbols.tolist()


def tenx(adata, folder):
    folder.mkdir()
    with gzip.open(folder / "matrix.mtx.gz", "wb", compresslevel=1) as file:
        scipy.io.mmwrite(file, adata.X.T.astype(np.int32), field="integer")
    lines = "\n".join(f"{i}\t{s}\tGene Expression" for i, s in zip(*features(adata), strict=True))
    (folder / "features.tsv").write_text(lines + "\n")
    (folder / "barcodes.tsv").write_text("\n".join(adata.obs_names) + "\n")
    return folder


def tenx_h5(adata, path):
    csr, (ids, symbols) = sp.csr_matrix(adata.X), features(adata)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for part in ("data", "indices", "indptr"):
            group.create_dataset(part, data=getattr(csr, part), compression="gzip")
        group["shape"], group["barcodes"] = csr.shape[::-1], np.array(list(adata.obs_names), "S")
        group["features/id"], group["features/name"] = np.array(ids, "S"), np.array(symbols, "S")
    return path


def loom(adata, path):
    with h5py.File(path, "w") as file:
        given = dict(data=adata.X.toarray().T, chunks=(64, 64), compression="gzip")
        file.create_dataset("matrix", **given)
        for name, values in zip(("Accession", "Gene"), features(adata), strict=True):
            file[f"row_attrs/{name}"] = np.array(values, "S")
        for label in ("CellID", "donor", "batch"):
            values = adata.obs_names if label == "CellID" else adata.obs.get(label, [])
            if len(values):
                file[f"col_attrs/{label}"] = np.array(list(map(str, values)), "S")
    return path


KINDS = {"tenx": tenx, "tenx.h5": tenx_h5, "cells.loom": loom}


def stores(tmp_path, name, kind, write, **options):
    path = DATA / "single_cell" / f"{name}.h5ad"
    other = write(anndata.read_h5ad(path), tmp_path / kind)
    given = dict(duplicates="sum", progress=False, **options)
    one = jaxcell.prepare(tmp_path / "one", [path], **given)
    two = jaxcell.prepare(tmp_path / "two", [other], **given)
    assert one.sizes == two.sizes
    return one, two


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS_WITH_LABELS)
def test_the_same_store_with_labels(tmp_path, name, kind):
    options = dict(labels=FILES[name], hold_out_fraction=0.2, min_genes=200, min_cells=3)
    one, two = stores(tmp_path, name, kind, KINDS_WITH_LABELS[kind], **options)
    assert one.content_hash == two.content_hash


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_store_without_labels(tmp_path, name, kind):
    one, two = stores(tmp_path, name, kind, KINDS[kind], hold_out_fraction=0.2, min_cells=3)
    assert one.content_hash == two.content_hash
