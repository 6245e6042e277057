"""The same small counts in every kind of source."""

import gzip
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.data.conftest import ENSEMBL, GENES, counts


def read(source, *rows):
    """All counts of a source, or of a range of its cells."""
    return np.vstack([chunk.toarray() for chunk in source.chunks(*rows)])


def write_soma(uri, adata, layer="raw", measurement="RNA"):
    """Write an AnnData as a SOMA experiment; its path."""
    import tiledbsoma.io

    # X as a layer: from 0.13 on AnnData lists X among its layers, by a name that tiledbsoma 2.3
    # does not take.
    adata = adata.copy()
    matrix, adata.X = adata.X, None
    adata.layers[layer] = matrix
    tiledbsoma.io.from_anndata(str(uri), adata, measurement_name=measurement)
    return uri


def check(source, wanted):
    """A source opened with chunk_cells=7 is a matrix [30, n_var], as is any range of it."""
    chunks = list(source.chunks())
    assert [c.shape[0] for c in chunks] == [7, 7, 7, 7, 2]
    assert all(c.has_canonical_format for c in chunks)
    np.testing.assert_array_equal(np.vstack([c.toarray() for c in chunks]), wanted)
    np.testing.assert_array_equal(read(source, 11, 20), wanted[11:20])
    assert source.n_cells == len(source.obs) == 30
    assert len(source.var) == wanted.shape[1]
    assert len(source.checksum()) == 64
    assert source.checksum() == source.at(source.counts).checksum()
    assert source.stamp() == source.at(source.counts).stamp()
    if source.spec:  # as it comes from open_source: other processes open it for themselves
        again = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(read(again, 11, 20), wanted[11:20])


def var(**columns):
    return pd.DataFrame({"gene_ids": ENSEMBL, "gene_symbols": GENES, **columns}, index=ENSEMBL)


@pytest.fixture
def tenx(tmp_path):
    """Function: writes a folder of Cell Ranger and gives its path."""

    def write(matrix=None, *, name="sample", prefix="", old=False, zipped=True, order=None,
              types=None, kind="integer"):  # fmt: skip
        matrix = counts() if matrix is None else matrix
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        cells, genes = np.nonzero(matrix)
        lines = [f"{g + 1} {c + 1} {matrix[c, g]:g}" for c, g in zip(cells, genes, strict=True)]
        if order is not None:
            lines = [lines[i] for i in np.random.default_rng(order).permutation(len(lines))]
        head = [
            f"%%MatrixMarket matrix coordinate {kind} general",
            '%metadata_json: {"software_version": "cellranger"}',
            f"{matrix.shape[1]} {matrix.shape[0]} {len(lines)}",
        ]
        fields = [ENSEMBL, GENES] if old else [ENSEMBL, GENES, types or ["Gene Expression"] * 8]
        texts = {
            "matrix.mtx": head + lines,
            "barcodes.tsv": [f"AAAC{i}-1" for i in range(len(matrix))],
            "genes.tsv" if old else "features.tsv": map("\t".join, zip(*fields, strict=True)),
        }
        for file, content in texts.items():
            content = ("\n".join(content) + "\n").encode()
            path = folder / f"{prefix}{file}{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
        return folder

    return write


@pytest.fixture
def tenx_h5(tmp_path):
    """Function: writes an h5 of Cell Ranger and gives its path."""

    def write(matrix=None, *, group="matrix", types=None, genomes=None, name="sample.h5"):
        csr = sp.csr_matrix(counts() if matrix is None else matrix).astype(np.int32)
        with h5py.File(tmp_path / name, "a") as file:
            at = file.create_group(group)
            for part in ("data", "indices", "indptr"):
                at.create_dataset(part, data=getattr(csr, part), compression="gzip")
            at["shape"] = np.array(csr.shape[::-1], np.int32)
            at["barcodes"] = np.array([f"AAAC{i}-1" for i in range(csr.shape[0])], "S18")
            if group == "matrix":
                features = at.create_group("features")
                features["id"], features["name"] = np.array(ENSEMBL, "S"), np.array(GENES, "S")
                features["feature_type"] = np.array(types or ["Gene Expression"] * 8, "S")
                features["genome"] = np.array(genomes or ["GRCh38"] * 8, "S")
            else:
                at["genes"], at["gene_names"] = np.array(ENSEMBL, "S"), np.array(GENES, "S")
        return tmp_path / name

    return write


@pytest.fixture
def loom(tmp_path):
    """Function: writes a loom file and gives its path."""

    def write(matrix=None, *, name="cells.loom", chunks=(4, 8), **layers):
        matrix = counts() if matrix is None else matrix
        n = len(matrix)
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("matrix", data=matrix.T, chunks=chunks, compression="gzip")
            for layer, values in layers.items():
                file[f"layers/{layer}"] = values.T
            text = h5py.string_dtype()
            file["row_attrs/Gene"] = np.array(GENES[: matrix.shape[1]], dtype=text)
            file["row_attrs/Accession"] = np.array(ENSEMBL[: matrix.shape[1]], dtype=text)
            file["col_attrs/CellID"] = np.array([f"cell{i}" for i in range(n)], dtype=text)
            file["col_attrs/type"] = np.array([["T", "B", ""][i % 3] for i in range(n)], dtype=text)
            file["col_attrs/depth"] = matrix.sum(1)
            file["col_attrs/_X"] = np.zeros((n, 2))
        return tmp_path / name

    return write
