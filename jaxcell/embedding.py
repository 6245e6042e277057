"""A checkpoint and raw counts → one vector for each cell, in AnnData.

B cells, T tokens, D width, V genes.
"""

import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import anndata
import h5py
import jax
import numpy as np
import scipy.sparse
from tqdm import tqdm

from jaxcell import __version__, config
from jaxcell.data.checks import check_chunk
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.records import Rows
from jaxcell.data.sources import open_source
from jaxcell.data.transforms import Draft, build_transforms
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import load_model


def embed(
    data,
    checkpoint,
    *,
    out=None,
    key=None,
    genes=None,
    counts="X",
    batch_size=1024,
    seed=0,
    identifiers="auto",
    gene_map=None,
    duplicates="error",
    allow_non_integer=False,
    min_matched=0.05,
    progress=True,
):
    """Embed cells with a trained model.

    Each cell shows some of its measured genes, drawn uniformly, zeros included, as in training,
    seeded by the cell's own counts.
    Its vector therefore does not depend on the other cells, their order or the batch size.

    Parameters
    ----------
    data : AnnData (changed in place), path of an h5ad file, or 'scanpy:pbmc68k_reduced'
    checkpoint : workdir of a training run, a step folder in its checkpoints, or a model folder
    out : where to write the h5ad; needed when ``data`` is not an AnnData, must not exist
    key : name in ``obsm``; ``X_<name of the config>`` by default
    genes : how many genes each cell shows; the checkpoint's ``embed.genes`` by default, and where
        that is 0, as many as in training
    counts : where the raw counts are: 'X', 'layers/NAME' or 'raw'
    batch_size : cells read and held at a time; does not change any vector
    seed : of the drawn genes, together with the cell's counts
    identifiers, gene_map, duplicates, allow_non_integer : as in ``prepare``
    min_matched : least share of the vocabulary's genes that must be found, else an error
    progress : whether to show a bar

    Returns
    -------
    AnnData or Path : ``data`` itself, or ``out``, with ``obsm[key]`` float32 [cells, D] and the
        provenance in ``uns['jaxcell'][key]``

    Raises
    ------
    ValueError
        For values that are not counts, genes that do not match, an output that exists, or a folder
        that holds no model. Nothing is written then.
    """
    in_memory = isinstance(data, anndata.AnnData)
    if not in_memory and out is None:
        raise ValueError("out: name the h5ad file to write")
    _check_call(data if in_memory else None, out, batch_size, seed)
    model = load_model(checkpoint)
    if genes is not None:
        model.config.embed.genes = genes
        config.check(model.config)
    key = key or f"X_{model.config.name}"
    source = open_source(data, counts=counts, chunk_cells=batch_size)
    embedder = Embedder(model, source, seed, identifiers, gene_map, duplicates, min_matched)
    vectors = np.empty((source.n_cells, model.config.model.width), np.float32)
    began, done, looks = time.perf_counter(), 0, ""
    with tqdm(total=source.n_cells, unit="cell", disable=not progress, desc="embed") as bar:
        for chunk in source.chunks():
            looks = check_chunk(chunk, source, allow_non_integer) or looks
            vectors[done : done + chunk.shape[0]] = embedder(chunk)
            done += chunk.shape[0]
            bar.update(chunk.shape[0])
    seconds = time.perf_counter() - began
    if not np.isfinite(vectors).all():
        raise ValueError(f"{source.name}: some vectors are NaN or infinite; nothing is written")
    if looks:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=2)
    seen = looks or "integer counts"
    provenance = embedder.provenance(checkpoint, seen, done / max(seconds, 1e-9))
    if in_memory:
        _add(data, key, vectors, provenance)
        return data
    _write(data, Path(out), source, key, vectors, provenance)
    return Path(out)


def _check_call(adata, out, batch_size, seed):
    """Refuse before anything is computed what could not be written or drawn after it."""
    if out is not None:
        if Path(out).exists():
            raise ValueError(f"{out}: exists already; remove it or name another output")
        if not Path(out).absolute().parent.is_dir():
            raise ValueError(f"{out}: its folder does not exist; make it first")
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, expected a number of cells above 0")
    if seed < 0:
        raise ValueError(f"seed: found {seed}, expected 0 or more")
    if adata is not None and adata.isbacked and adata.is_view:
        raise ValueError("a view of a backed AnnData cannot be written to: pass view.to_memory()")
    if adata is not None and not isinstance(adata.uns.get("jaxcell", {}), Mapping):
        raise ValueError("uns['jaxcell'] is not a dict of ours; remove it first")


class Embedder:
    """Chunks of raw counts [B, genes of the file] → vectors float32 [B, D]."""

    def __init__(self, model, source, seed, identifiers, gene_map, duplicates, min_matched):
        c = model.config
        self._model, self._seed, self._source = model, seed, source
        names = identify(source.var, identifiers, source.name)
        self._match = match(
            names, model.vocabulary, read_gene_map(gene_map), duplicates, source.name
        )
        self._check(min_matched)
        columns = self._match.columns
        self._measured = np.unique(columns[columns >= 0]).astype(np.int32)
        vocabulary = len(model.vocabulary)
        specials = len(c.model.specials)
        shown = c.embed.genes or c.data.sample_genes.number
        c.data.sample_genes.number = min(shown, len(self._measured))
        self._transforms = build_transforms(c.data, vocabulary, specials)
        self._micro = c.embed.micro_batch
        self._empty = 0
        net = CellModel(c.model)
        variables = jax.device_put(model.variables)

        def forward(variables, batch):
            outputs, _ = net.apply(variables, batch, {}, train=False, heads=False)
            return outputs["cell"]

        compiled = jax.jit(forward)
        self._forward = lambda batch: compiled(variables, batch)

    def _check(self, min_matched):
        found, of = self._match.n_matched, len(self._model.vocabulary)
        if found < min_matched * of:
            raise ValueError(
                f"{self._source.name}: only {found} of the model's {of} genes were found, fewer "
                f"than min_matched = {min_matched:.0%}. {self._match.report()}"
            )
        if found < 0.5 * of:
            warnings.warn(
                f"{self._source.name}: {found} of the model's {of} genes were found; with under "
                f"half of them embeddings may be poor. {self._match.report()}",
                stacklevel=4,
            )

    def __call__(self, chunk):
        matrix = self._match.apply(chunk)
        empty = int((np.diff(matrix.indptr) == 0).sum())
        if empty and not self._empty:
            warnings.warn(
                f"{self._source.name}: holds cells without any count in the model's genes; their "
                "vectors carry nothing",
                stacklevel=3,
            )
        self._empty += empty
        batch = self._batch(matrix, np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel())
        # One compiled shape: the last micro-batch is filled up with the first cell.
        cells, m = len(batch["length"]), self._micro
        order = np.pad(np.arange(cells), (0, -cells % m))
        parts = []
        with jax.default_matmul_precision("highest"):
            for start in range(0, len(order), m):
                rows = order[start : start + m]
                parts.append(self._forward({k: v[rows] for k, v in batch.items()}))
        return np.concatenate(jax.device_get(parts))[:cells]

    def _batch(self, matrix, totals):
        cells = matrix.shape[0]
        zeros = np.zeros(cells, np.int32)
        rows = Rows(
            indptr=matrix.indptr.astype(np.int64),
            ids=matrix.indices.astype(np.int32),
            counts=matrix.data.astype(np.float32),
            dataset=zeros,
            total=totals.astype(np.float32),
            labels=np.empty((cells, 0), np.int32),
        )
        keys = np.array([self._key(rows, b) for b in range(cells)], np.uint64).reshape(-1, 2)
        draft = Draft(rows=rows, gene_sets=[self._measured], gene_set=zeros, keys=keys)
        for transform in self._transforms:
            transform(draft)
        return {k: draft.batch[k] for k in ("ids", "values", "length")}

    def _key(self, rows, b):
        """The seed of a cell's draw: its own non-zero genes and counts, and nothing else."""
        mine = slice(rows.indptr[b], rows.indptr[b + 1])
        content = hashlib.blake2b(rows.ids[mine].tobytes(), digest_size=8)
        content.update(rows.counts[mine].tobytes())
        return self._seed, int.from_bytes(content.digest(), "little")

    def provenance(self, checkpoint, seen, rate):
        """What ``uns['jaxcell'][key]`` says about how the vectors came to be."""
        found, c = self._match, self._model.config
        return {
            "jaxcell": __version__,
            "checkpoint": str(checkpoint),
            "checkpoint_hash": self._model.sha256,
            "checkpoint_step": str(self._model.info["step"]),
            "config": c.name,
            "genes_matched": found.n_matched,
            "genes_missing": len(found.missing),
            "genes_unmatched": len(found.unmatched),
            "genes_duplicated": len(found.duplicated),
            "cells_without_counts": self._empty,
            "values_seen": str(seen),
            "library_size": c.data.normalise.library_size,
            "genes_shown": int(c.data.sample_genes.number),
            "pooling": c.model.pool,
            "dtype": "float32",
            "seed": self._seed,
            "cells_per_s": float(rate),
        }


def _add(adata, key, vectors, provenance):
    adata.obsm[key] = vectors
    adata.uns["jaxcell"] = {**adata.uns.get("jaxcell", {}), key: provenance}


def _write(data, out, source, key, vectors, provenance):
    """Write beside ``out`` and rename, so that nothing half-written bears its name."""
    partial = out.with_name(out.name + ".partial")
    try:
        if str(data).startswith("scanpy:"):
            counts = scipy.sparse.vstack(list(source.chunks()), format="csr")
            adata = anndata.AnnData(counts, obs=source.obs, var=source.var)
            _add(adata, key, vectors, provenance)
            adata.write_h5ad(partial)
        else:
            # Copy the file and add to it: everything in it stays, and X is never loaded.
            shutil.copyfile(data, partial)
            os.chmod(partial, 0o644)
            with h5py.File(partial, "r+") as file:
                for group in ("obsm", "uns"):  # absent in files of some other tools
                    if group not in file:
                        anndata.io.write_elem(file, group, {})
                anndata.io.write_elem(file["obsm"], key, vectors)
                known = file["uns"].get("jaxcell")
                known = {} if known is None else anndata.io.read_elem(known)
                anndata.io.write_elem(file["uns"], "jaxcell", {**known, key: provenance})
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
