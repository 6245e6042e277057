"""Other ways to read random cells of an h5ad file, for `jaxcell.bench.loader`.

Each takes the file and the number of cells of a batch and returns a function that reads the next
batch and says how many cells it held. What is read is what a model could be given: the counts of
the cells as CSR or as a dense float32 tensor, whichever the tool's own default gives.
"""

import tempfile

import anndata
import h5py
import numpy as np
import scipy.sparse as sp


def h5py_rows(path, batch):
    """Plain h5py: the rows of X (CSR) at sorted random positions, one slice each."""
    file = h5py.File(path, "r")
    indptr, data, indices = file["X/indptr"][:], file["X/data"], file["X/indices"]
    n_genes = int(file["X"].attrs["shape"][1])
    random = np.random.default_rng(0)

    def read():
        rows = np.sort(random.choice(len(indptr) - 1, batch, replace=False))
        bounds = [slice(indptr[i], indptr[i + 1]) for i in rows]
        values = np.concatenate([data[s] for s in bounds])
        columns = np.concatenate([indices[s] for s in bounds])
        pointers = np.concatenate([[0], np.cumsum([s.stop - s.start for s in bounds])])
        return sp.csr_matrix((values, columns, pointers), (batch, n_genes)).shape[0]

    return read


def anndata_rows(path, batch):
    """anndata, backed: ``adata[positions].to_memory()`` at sorted random positions."""
    adata = anndata.read_h5ad(path, backed="r")
    random = np.random.default_rng(0)

    def read():
        rows = np.sort(random.choice(adata.n_obs, batch, replace=False))
        return adata[rows].to_memory().n_obs

    return read


def annloader(path, batch):
    """The AnnLoader of anndata over a backed AnnData, shuffled: cells at random positions."""
    from anndata.experimental import AnnLoader

    loader = AnnLoader(anndata.read_h5ad(path, backed="r"), batch_size=batch, shuffle=True)
    return _endless(lambda: loader, lambda found: found.X.shape[0])


def scdataset_random(path, batch):
    """A scDataset over a backed AnnData, blocks of one cell, one batch a fetch: random access."""
    return _scdataset(path, batch, block_size=1, fetch_factor=1)


def scdataset_blocks(path, batch):
    """A scDataset over a backed AnnData, 64 neighbours together, 16 batches a fetch: not random."""
    return _scdataset(path, batch, block_size=64, fetch_factor=16)


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
    return _endless(lambda: DataLoader(dataset, batch_size=None), lambda found: found.shape[0])


def annbatch_blocks(path, batch):
    """The Loader of annbatch over a zarr copy, since it takes no h5ad; 64 neighbours together.

    The copy is made in memory, with the compression and chunks that anndata gives it.
    """
    import zarr
    from annbatch import Loader

    folder = tempfile.TemporaryDirectory(prefix="jaxcell-annbatch-")
    anndata.read_h5ad(path).write_zarr(folder.name)
    matrix = anndata.io.sparse_dataset(zarr.open(folder.name)["X"])
    loader = Loader(
        batch_size=batch, chunk_size=64, preload_nchunks=max(16 * batch // 64, 1), shuffle=True
    ).add_dataset(matrix)
    read = _endless(lambda: loader, lambda found: found["X"].shape[0])
    read.folder = folder  # it is removed with the reader
    return read


def _endless(epoch, cells):
    """A reader over the epochs of an iterable, one after the other."""

    def stream():
        while True:
            yield from epoch()

    batches = stream()
    return lambda: cells(next(batches))


# Name in the table, the package that must be there, whether each cell's place is random, how.
PEERS = (
    ("h5py, row by row", "h5py", True, h5py_rows),
    ("anndata backed", "anndata", True, anndata_rows),
    ("AnnLoader", "torch", True, annloader),
    ("scDataset, blocks of 1", "scdataset", True, scdataset_random),
    ("scDataset, blocks of 64", "scdataset", False, scdataset_blocks),
    ("annbatch, blocks of 64", "annbatch", False, annbatch_blocks),
)
