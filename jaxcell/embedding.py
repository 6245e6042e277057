"""A checkpoint and raw counts → one vector for each cell, in AnnData.

B cells, T tokens, D width, V genes.
"""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import anndata
import jax
import numpy as np

from jaxcell import config
from jaxcell.data.checks import check_chunk
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source
from jaxcell.data.types import Cells, StrPath
from jaxcell.embedder import Embedder
from jaxcell.forward import Forward
from jaxcell.models import pools
from jaxcell.models.cell import CellModel, layers_of
from jaxcell.predictions import (
    check_decoding,
    check_leaves,
    columns,
    label_heads,
    outputs_of,
    pooler_trained,
    probabilities_of,
)
from jaxcell.progress import bar
from jaxcell.results import (
    Found,
    check_call,
    check_copy,
    check_match,
    check_records,
    keep,
    without,
)
from jaxcell.training.checkpoint import load_model


def embed(
    data: Cells,
    checkpoint: StrPath | Sequence[StrPath],
    *,
    out: StrPath | None = None,
    key: str | None = None,
    genes: int | str | None = None,
    draws: int | None = None,
    zeros: str | None = None,
    layer: int | None = None,
    pooling: str | Sequence[str] | None = None,
    decode: str | float = "leaf",
    probabilities: bool = False,
    dtype: str = "float32",
    counts: str = "X",
    batch_size: int = 1024,
    seed: int = 0,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    duplicates: str = "error",
    measured_by: str = "",
    allow_non_integer: bool = False,
    min_matched: float = 0.05,
    progress: bool = True,
) -> anndata.AnnData | Path:
    """Embed cells with a trained model, and predict their labels where it has heads for them.

    Each cell shows all of its measured genes, zeros included, or some of them, drawn as in training
    and seeded by the cell's own counts. Its vector therefore does not depend on the other cells,
    their order or the batch size (but for ``measured_by``, which finds a batch's measured genes
    from its cells in this file: embed whole batches then). Genes that no training cell measured are
    not shown. Predictions go into ``obs``, by the name of the head: ``<label>_pred``,
    ``_pred_prob`` and, of a label of an ontology, ``_pred_id`` and ``_pred_lineage`` (see
    ``jaxcell.predictions.columns``); a cell without any count has none. What an earlier run left of
    the same heads is replaced or removed, and ``uns['jaxcell']['predictions']`` says whose they
    are.

    Parameters
    ----------
    data : AnnData (changed in place), path of an h5ad file, or 'scanpy:pbmc68k_reduced'
    checkpoint : workdir of a training run, a step folder in its checkpoints, a model folder, or
        'hf://ORG/NAME[@REVISION]'; of several the vectors are joined, and the first that has a
        label's head predicts it
    out : where to write the h5ad; needed when ``data`` is not an AnnData, must not exist
    key : name in ``obsm``; ``X_<name of the config>`` by default
    genes : how many genes each cell shows, or 'all'; the checkpoint's ``embed.genes`` by default
    draws : vectors of that many draws of ``genes`` are averaged; the checkpoint's ``embed.draws``
        by default
    zeros : of a sequence, genes without a count that are shown beside the expressed ones:
        'exclude', 'all', 'vocabulary' (all, and genes that the file lacks too, as zeros),
        'interleave' (in training's ratio) or 'random' (as many as ``genes`` leaves room for); the
        checkpoint's ``embed.zeros`` by default
    layer : take the vector behind this block instead of the model's own: 1 … N of the encoder's
        (before the final norm, but for the N-th), then N + 1 … of the decoder's
    pooling : instead of the checkpoint's pool: 'cls', 'mean' (of the genes' tokens), 'last' (the
        last token), 'first' (the first, a special one or a gene), 'pooler' (where training has
        trained one), the name of a front token; several are joined
    decode : of labels of an ontology: 'leaf', the most probable leaf; 'greedy', from the root down;
        or a probability, for the deepest term that has it
    probabilities : also put the leaves' probabilities into ``obsm['<label>_leaves']`` (their ids
        into ``uns['jaxcell'][key]``)
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
    check_call(data if in_memory else None, out, key, batch_size, seed)
    decode = check_decoding(decode)
    checkpoints = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    models = [load_model(path) for path in checkpoints]
    for model, path in zip(models, checkpoints, strict=True):
        _settings(model, path, genes, draws, zeros, layer, pooling, dtype)
    key = key or "X_" + "+".join(model.config.name for model in models)
    source = open_source(data, counts=counts, chunk_cells=batch_size)
    check_records(data, source.name)
    check_copy(data, out)
    names, gene_map = identify(source.var, identifiers, source.name), read_gene_map(gene_map)
    embedders, taken = [], set()
    for model in models:
        found = match(names, model.vocabulary, gene_map, duplicates, source.name)
        check_match(found, source, min_matched)
        embedder = Embedder(model, source, found, seed, measured_by)
        heads = [name for name in label_heads(model) if name not in taken and layer is None]
        taken |= set(heads)
        check_leaves(model, heads, decode)
        forward = Forward(model.config, layer, dtype, pooling, heads, model.tables)
        embedders.append((embedder, forward))
        if progress:
            embedder.say_cost()
    parts: list = [[] for _ in models]
    kinds = {m.config.data.normalise.given for m in models}
    began, done, looks = time.perf_counter(), 0, ""
    with bar(source.n_cells, "embed", "cell", shown=progress) as shown:
        advance = shown.shared(sum(embedder.draws for embedder, _ in embedders))
        for chunk in source.chunks():
            for given in kinds:
                looks = check_chunk(chunk, source, allow_non_integer, given) or looks
            for part, (embedder, forward) in zip(parts, embedders, strict=True):
                part.append(embedder(chunk, forward, advance))
            done += chunk.shape[0]
    seconds = time.perf_counter() - began
    parts = [jax.tree.map(lambda *a: np.concatenate(a), *part) for part in parts]
    vectors = np.concatenate([part.pop("cell") for part in parts], axis=1).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError(f"{source.name}: some vectors are NaN or infinite; nothing is written")
    if looks and kinds != {"log1p"}:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=2)
    said = [
        {**one.provenance(path, looks or "integer counts"), **forward.provenance()}
        for (one, forward), path in zip(embedders, checkpoints, strict=True)
    ]
    provenance = {**said[0], "cells_per_s": float(done / max(seconds, 1e-9))}
    for number, more in enumerate(said[1:], 2):
        provenance[f"checkpoint_{number}"] = more
    obs, obsm, predictions = {}, {key: vectors}, {}
    for model, (embedder, _), logits in zip(models, embedders, parts, strict=True):
        for head, one in logits.items():
            found = columns(model, head, one, decode)
            obs |= {name: without(column, embedder.empty) for name, column in found.items()}
            ontology = model.ontologies.get(label_heads(model)[head])
            if probabilities and ontology is not None:
                p = probabilities_of(model, head, one).astype(np.float32)
                obsm[f"{head}_leaves"] = without(p, embedder.empty)
                provenance[f"{head}_leaves"] = [ontology.ids[i] for i in ontology.leaves]
            predictions[head] = {"key": key, "checkpoint_hash": model.sha256}
    if obs:
        provenance["decode"] = str(decode)
    stale = outputs_of(predictions)
    found = Found(key, {"obsm": obsm}, obs, provenance, stale, predictions)
    return keep(data, out, source, found)


def _settings(model, path, genes, draws, zeros, layer, pooling, dtype):
    """Put what a call asks for into the checkpoint's config, checked."""
    c = model.config
    if genes is not None:
        c.embed.genes = 0 if genes == "all" else genes
    if draws is not None:
        c.embed.draws = draws
    if zeros is not None:
        if "sequence" not in c.data.transforms:
            raise ValueError(
                f"zeros: found {zeros!r}, expected none for {path}, which shows genes drawn from "
                "all that a cell measured"
            )
        c.embed.zeros = zeros
    if c.embed.draws > 1 and not c.embed.genes:
        raise ValueError(
            f"draws: found {c.embed.draws} where all genes are shown, and so the same in each; "
            "name how many are drawn too (genes=N, --genes N)"
        )
    config.check(c)
    if pooling is not None:
        try:
            pools.check(pooling, CellModel(c.model).spec)
        except ValueError as error:
            raise ValueError(f"pooling: {path}: {error}") from None
    pool = pools.names_of(pooling or c.model.pool)
    if "pooler" in pool and not pooler_trained(c):
        raise ValueError(
            f"pooling: the pooler of {path} was never trained (no head with a loss reads it); "
            "take cls or mean"
        )
    encoder, decoder, _ = layers_of(c.model)
    if layer is not None and layer < encoder and "pooler" in pool:
        raise ValueError(
            f"pooling: the pooler reads the last block, not the {layer}. of {encoder}; leave "
            "--layer out, or take --pooling cls"
        )
    if layer is not None and layer > encoder and pooling is not None:
        raise ValueError(
            f"pooling: found {pooling!r}, expected none behind the decoder's blocks (layer = "
            f"{layer}), which hold one vector of a cell"
        )
    if layer is not None and not 1 <= layer <= encoder + decoder:
        raise ValueError(
            f"layer: found {layer}, expected 1 to {encoder} (blocks of the encoder)"
            + (f" or to {encoder + decoder} (of the decoder)" if decoder else "")
        )
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype: found {dtype!r}, expected float32 or bfloat16")
