"""Other ways to read random cells of an h5ad file, for `jaxcell.bench.loader`.

Each takes the file, the number of cells of a batch, and a folder for what it must copy; it returns
a function that reads the next batch. What is read is what a model could be given: the counts of
the cells [batch, genes] as CSR or dense, whichever the tool's own default gives.
"""

import anndata
import h5py
import numpy as np
import scipy.sparse as sp

TOGETHER = 16  # batches fetched at once by what takes neighbouring cells together


def h5py_rows(path, batch, folder):
    """Plain h5py: the rows of X (CSR) at sorted random positions, one slice each."""
    file = h5py.File(path, "r")
    indptr, data, indices = file["X/indptr"][:], file["X/data"], file["X/indices"]
    n_genes, random = int(file["X"].attrs["shape"][1]), np.random.default_rng(0)

    def read():
        rows = np.sort(random.choice(len(indptr) - 1, batch, replace=False))
        bounds = [slice(indptr[i], indptr[i + 1]) for i in rows]
        values = np.concatenate([data[s] for s in bounds])
        columns = np.concatenate([indices[s] for s in bounds])
        pointers = np.concatenate([[0], np.cumsum([s.stop - s.start for s in bounds])])
        return sp.csr_matrix((values, columns, pointers), (batch, n_genes))

    return read


def anndata_rows(path, batch, folder):
    """anndata, backed: ``adata[positions].to_memory()`` at sorted random positions."""
    adata, random = anndata.read_h5ad(path, backed="r"), np.random.default_rng(0)

    def read():
        rows = np.sort(random.choice(adata.n_obs, batch, replace=False))
        return adata[rows].to_memory().X

    return read


def anncollection(path, batch, folder):
    """An AnnCollection of a backed AnnData, at sorted random positions."""
    from anndata.experimental import AnnCollection

    cells = AnnCollection([anndata.read_h5ad(path, backed="r")])
    random = np.random.default_rng(0)
    return lambda: cells[np.sort(random.choice(cells.n_obs, batch, replace=False))].X


def annloader(path, batch, folder):
    """The AnnLoader of anndata over a backed AnnData, shuffled: cells at random positions."""
    from anndata.experimental import AnnLoader

    loader = AnnLoader(anndata.read_h5ad(path, backed="r"), batch_size=batch, shuffle=True)
    return _endless(lambda: loader, lambda found: found.X, batch)


def scdataset_random(path, batch, folder):
    """A scDataset over a backed AnnData, blocks of one cell, one batch a fetch: random access."""
    return _scdataset(path, batch, block_size=1, fetch_factor=1)


def scdataset_blocks(path, batch, folder):
    """A scDataset over a backed AnnData, 64 neighbours together, 16 batches a fetch: not random."""
    return _scdataset(path, batch, block_size=64, fetch_factor=TOGETHER)


def _scdataset(path, batch, block_size, fetch_factor):
    from scdataset import BlockShuffling, scDataset
    from torch.utils.data import DataLoader

    dataset = scDataset(
        anndata.read_h5ad(path, backed="r"),
        BlockShuffling(block_size=block_size),
        batch_size=batch,
        fetch_factor=fetch_factor,
        fetch_transform=lambda found: found.to_memory(),
        batch_transform=lambda found: found.X,
        drop_last=True,
        seed=0,
    )
    return _endless(lambda: DataLoader(dataset, batch_size=None), lambda found: found, batch)


def soma_random(path, batch, folder):
    """TileDB-SOMA-ML over an experiment of the same cells, one cell of a chunk: random access."""
    return _soma(path, batch, folder, shuffle_chunk_size=1, io_batch_size=batch)


def soma_blocks(path, batch, folder):
    """The same, 64 neighbours together, 16 batches fetched at a time: not random."""
    return _soma(path, batch, folder, shuffle_chunk_size=64, io_batch_size=TOGETHER * batch)


def _soma(path, batch, folder, **how):
    import tiledbsoma
    import tiledbsoma.io
    from tiledbsoma_ml import ExperimentDataset, experiment_dataloader

    place = folder / "soma"
    if not place.exists():
        tiledbsoma.io.from_h5ad(str(place), str(path), measurement_name="RNA")
    experiment = tiledbsoma.Experiment.open(str(place))
    dataset = ExperimentDataset(
        experiment.axis_query("RNA"), layer_name="data", batch_size=batch, shuffle=True, seed=0,
        return_sparse_X=True, use_eager_fetch=False, **how,
    )  # fmt: skip
    return _endless(lambda: experiment_dataloader(dataset), lambda found: found[0], batch)


def annbatch_blocks(path, batch, folder):
    """The Loader of annbatch over a zarr copy, since it takes no h5ad; 64 neighbours together.

    The copy is made in memory, with the compression and chunks that anndata gives it.
    """
    import zarr
    from annbatch import Loader

    place = folder / "annbatch.zarr"
    if not place.exists():
        anndata.read_h5ad(path).write_zarr(place)
    loader = Loader(
        batch_size=batch,
        chunk_size=64,
        preload_nchunks=max(TOGETHER * batch // 64, 1),
        shuffle=True,
    ).add_dataset(anndata.io.sparse_dataset(zarr.open(place)["X"]))
    return _endless(lambda: loader, lambda found: found["X"], batch)


def _endless(epoch, counts, batch):
    """A reader over the epochs of an iterable, one after the other; whole batches alone."""

    def stream():
        while True:
            for found in epoch():
                if (matrix := counts(found)).shape[0] == batch:
                    yield matrix

    return stream().__next__


def as_csr(matrix):
    """What a reader gave, as CSR float32."""
    if hasattr(matrix, "layout") and "sparse" in str(matrix.layout):  # torch's
        matrix = matrix.to_sparse_csr()
        parts = matrix.values(), matrix.col_indices(), matrix.crow_indices()
        return sp.csr_matrix(tuple(np.asarray(p) for p in parts), matrix.shape)
    return sp.csr_matrix(matrix if sp.issparse(matrix) else np.asarray(matrix))


# Name in the table, the package that must be there, whether each cell's place is random, how.
PEERS = (
    ("h5py, row by row", "h5py", True, h5py_rows),
    ("anndata backed", "anndata", True, anndata_rows),
    ("AnnCollection", "anndata", True, anncollection),
    ("AnnLoader", "torch", True, annloader),
    ("scDataset, blocks of 1", "scdataset", True, scdataset_random),
    ("TileDB-SOMA-ML, chunks of 1", "tiledbsoma_ml", True, soma_random),
    ("scDataset, blocks of 64", "scdataset", False, scdataset_blocks),
    ("TileDB-SOMA-ML, chunks of 64", "tiledbsoma_ml", False, soma_blocks),
    ("annbatch, blocks of 64", "annbatch", False, annbatch_blocks),
)
