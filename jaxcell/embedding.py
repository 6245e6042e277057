"""A checkpoint and raw counts → one vector for each cell, in AnnData.

B cells, T tokens, D width, V genes.
"""

import os
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import anndata
import h5py
import numpy as np
import scipy.sparse
from tqdm import tqdm

from jaxcell import config
from jaxcell.data.checks import check_chunk
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source
from jaxcell.embedder import Embedder, Forward
from jaxcell.models.cell import layers_of
from jaxcell.training.checkpoint import load_model


def embed(
    data,
    checkpoint,
    *,
    out=None,
    key=None,
    genes=None,
    draws=None,
    layer=None,
    dtype="float32",
    counts="X",
    batch_size=1024,
    seed=0,
    identifiers="auto",
    gene_map=None,
    duplicates="error",
    measured_by="",
    allow_non_integer=False,
    min_matched=0.05,
    progress=True,
):
    """Embed cells with a trained model.

    Each cell shows all of its measured genes, zeros included, or some of them, drawn as in training
    and seeded by the cell's own counts. Its vector therefore does not depend on the other cells,
    their order or the batch size (but for ``measured_by``, which finds a batch's measured genes
    from its cells in this file: embed whole batches then). Genes that no training cell measured are
    not shown.

    Parameters
    ----------
    data : AnnData (changed in place), path of an h5ad file, or 'scanpy:pbmc68k_reduced'
    checkpoint : workdir of a training run, a step folder in its checkpoints, or a model folder
    out : where to write the h5ad; needed when ``data`` is not an AnnData, must not exist
    key : name in ``obsm``; ``X_<name of the config>`` by default
    genes : how many genes each cell shows, or 'all'; the checkpoint's ``embed.genes`` by default
    draws : vectors of that many draws of ``genes`` are averaged; the checkpoint's ``embed.draws``
        by default
    layer : take the vector behind this block instead of the model's own: 1 … N of the encoder's
        (before the final norm, but for the N-th), then N + 1 … of the decoder's
    dtype : of matrix products, 'float32' (the reference) or 'bfloat16', whose distance from float32
        over the first cells is put into ``uns``
    counts : where the raw counts are: 'X', 'layers/NAME' or 'raw'
    batch_size : cells read and held at a time; does not change any vector
    seed : of the drawn genes, together with the cell's counts
    identifiers, gene_map, duplicates, measured_by, allow_non_integer : as in ``prepare``
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
    _check_call(data if in_memory else None, out, key, batch_size, seed)
    model = load_model(checkpoint)
    _settings(model.config, genes, draws, layer, dtype)
    key = key or f"X_{model.config.name}"
    source = open_source(data, counts=counts, chunk_cells=batch_size)
    found = match(
        identify(source.var, identifiers, source.name),
        model.vocabulary,
        read_gene_map(gene_map),
        duplicates,
        source.name,
    )
    _check_match(found, source, min_matched)
    embedder = Embedder(model, source, found, seed, measured_by)
    forward = Forward(model.config, layer, dtype)
    if progress:
        embedder.say_cost()
    vectors = np.empty((source.n_cells, model.config.model.width), np.float32)
    began, done, looks = time.perf_counter(), 0, ""
    with tqdm(total=source.n_cells, unit="cell", disable=not progress, desc="embed") as bar:
        for chunk in source.chunks():
            looks = check_chunk(chunk, source, allow_non_integer) or looks
            vectors[done : done + chunk.shape[0]] = embedder(chunk, forward)
            done += chunk.shape[0]
            bar.update(chunk.shape[0])
    seconds = time.perf_counter() - began
    if not np.isfinite(vectors).all():
        raise ValueError(f"{source.name}: some vectors are NaN or infinite; nothing is written")
    if looks:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=2)
    seen = looks or "integer counts"
    rate = float(done / max(seconds, 1e-9))
    provenance = {
        **embedder.provenance(checkpoint, seen),
        **forward.provenance(),
        "cells_per_s": rate,
    }
    if in_memory:
        _add(data, key, vectors, provenance)
        return data
    _write(data, Path(out), source, key, vectors, provenance)
    return Path(out)


def _check_call(adata, out, key, batch_size, seed):
    """Refuse before anything is computed what could not be written or drawn after it."""
    if key is not None and (not key or "/" in key):
        raise ValueError(f"key: found {key!r}, expected a name without '/', which h5ad files split")
    if out is not None:
        if Path(out).exists():
            raise ValueError(f"{out}: exists already; remove it or name another output")
        if not Path(out).absolute().parent.is_dir():
            raise ValueError(f"{out}: its folder does not exist; make it first")
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, expected a number of cells above 0")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: found {seed}, expected 0 or more, below 2**32")
    if adata is not None and adata.isbacked and adata.is_view:
        raise ValueError("a view of a backed AnnData cannot be written to: pass view.to_memory()")
    if adata is not None and not isinstance(adata.uns.get("jaxcell", {}), Mapping):
        raise ValueError("uns['jaxcell'] is not a dict of ours; remove it first")


def _settings(c, genes, draws, layer, dtype):
    """Put what a call asks for into the checkpoint's config, checked."""
    if genes is not None:
        c.embed.genes = 0 if genes == "all" else genes
    if draws is not None:
        c.embed.draws = draws
    if c.embed.draws > 1 and not c.embed.genes:
        raise ValueError(
            f"draws: found {c.embed.draws} where all genes are shown, and so the same in each; "
            "name how many are drawn too (genes=N, --genes N)"
        )
    config.check(c)
    encoder, decoder, _ = layers_of(c.model)
    if layer is not None and not 1 <= layer <= encoder + decoder:
        raise ValueError(
            f"layer: found {layer}, expected 1 to {encoder} (blocks of the encoder)"
            + (f" or to {encoder + decoder} (of the decoder)" if decoder else "")
        )
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype: found {dtype!r}, expected float32 or bfloat16")


def _check_match(found, source, min_matched):
    n, of = found.n_matched, found.n_genes
    if n < min_matched * of:
        raise ValueError(
            f"{source.name}: only {n} of the model's {of} genes were found, fewer than "
            f"min_matched = {min_matched:.0%}. {found.report()}"
        )
    if n < 0.5 * of:
        warnings.warn(
            f"{source.name}: {n} of the model's {of} genes were found; with under half of them "
            f"embeddings may be poor. {found.report()}",
            stacklevel=3,
        )


def _say_replaced(key, there):
    if key in there:
        warnings.warn(f"obsm[{key!r}] was there and is replaced", stacklevel=4)


def _add(adata, key, vectors, provenance):
    _say_replaced(key, adata.obsm)
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
                _say_replaced(key, file["obsm"])
                anndata.io.write_elem(file["obsm"], key, vectors)
                known = file["uns"].get("jaxcell")
                known = {} if known is None else anndata.io.read_elem(known)
                anndata.io.write_elem(file["uns"], "jaxcell", {**known, key: provenance})
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
