"""A checkpoint → its gene vectors, as an AnnData whose observations are genes.

V genes, R ≥ V rows of a padded gene table, D width.
"""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from jaxcell import __version__
from jaxcell.data.types import StrPath
from jaxcell.models.expression_heads import VocabularyParts
from jaxcell.results import check_out, save
from jaxcell.training.checkpoint import flatten, load_model


def genes(
    checkpoint: StrPath,
    out: StrPath | None = None,
) -> anndata.AnnData | Path:
    """Gene vectors of a trained model: the encoder's codebook and the decoder's weights.

    Parameters
    ----------
    checkpoint : workdir of a training run, a step folder in its checkpoints, a model folder, or
        'hf://ORG/NAME[@REVISION]'
    out : h5ad to write; must not exist. None writes nothing

    Returns
    -------
    AnnData [V, 0] or Path
        ``out``, where one is named. obs are the vocabulary's genes, by symbol (by Ensembl id where
        the symbol is not unique or absent), with ``symbol``, ``ensembl_id``, ``mean`` (of the
        normalised training cells, log1p, or of their bins), ``trained`` (measured in some training
        cell; the vectors of others are as they were drawn) and ``n_cells`` (training cells with the
        gene, where the checkpoint knows it). ``obsm['codebook']`` holds the rows that the encoder
        looks up, behind the field's norm where it has one and before they are projected with the
        value (of a field from a file its vectors, where it has them); ``obsm['decoder']`` the
        output layer's rows, of a head of several parts its first part's ('decoder_is_zero' the
        second's); all float32 [V, D], neither padded rows nor special
        tokens. ``uns['jaxcell']['genes']`` says
        where they come from. X is absent: ``scanpy.pp.neighbors(adata, use_rep='decoder')``.

    Raises
    ------
    ValueError
        When there is no model, it has no table with a row for each gene, or ``out`` exists.
    """
    check_out(out)
    model = load_model(checkpoint)
    found = _tables(model, checkpoint)
    adata = anndata.AnnData(obs=table_of(model), obsm=found)
    adata.uns["jaxcell"] = {"genes": _provenance(model, checkpoint)}
    return save(adata, out)


def _tables(model, checkpoint):
    """{'codebook' | 'decoder': float32 [V, D]} of those that the model has."""
    params, spec = model.variables["params"], model.config.model
    looked_up = [f for f in spec.tokens if spec.fields[f].get("input") == "ids"]
    places = {
        "codebook": [f"fields/{field}/embedding" for field in looked_up],
        "decoder": [f"heads/{head}/rows" for head in sorted(spec.heads)],
    }
    flat, found = flatten(params), {}
    for name, paths in places.items():
        there = [path for path in paths if path in flat]
        for path in there:
            # Beside the expression's decoder, another head with a gene table (ZINB's zeros) says
            # by name which it is.
            part = path.split("/")[1]
            key = name if len(there) == 1 or part == "expression" else f"{name}_{part}"
            rows = flat[path][: len(model.vocabulary)].astype(np.float32)
            if name == "codebook" and spec.fields[part].get("norm", False):
                rows = _normed(rows, *(flat[f"fields/{part}/norm/{k}"] for k in ("scale", "bias")))
            if name == "codebook" and spec.fields[part].kind == "external":
                known = model.tables["known"][part][: len(rows), None]
                rows = np.where(known, model.tables["vectors"][part][: len(rows)], rows)
            found |= _by_part(spec.heads[part], key, rows) if name == "decoder" else {key: rows}
    if not found:
        tables = sorted(path for path, leaf in flat.items() if leaf.ndim == 2)
        raise ValueError(
            f"{checkpoint}: no gene table at fields/<gene>/embedding or heads/<name>/rows; its "
            f"matrices are {', '.join(tables)}"
        )
    return found


def _normed(rows, scale, bias):
    """Rows [V, D] behind the layer norm of a lookup."""
    spread = np.sqrt(rows.var(axis=1, keepdims=True) + 1e-5)
    return (rows - rows.mean(axis=1, keepdims=True)) / spread * scale + bias


def _by_part(head, key, rows):
    """Rows [V, P · D] of a head with P parts for each gene → {key: [V, D], key_<part>: [V, D]}."""
    if head.kind != "vocabulary_parts":
        return {key: rows}
    names = head.get("parts", VocabularyParts.parts)
    each = np.split(rows, len(names), axis=1)
    return {key if i == 0 else f"{key}_{n}": each[i] for i, n in enumerate(names)}


def table_of(model):
    """What is known of each gene of a model, DataFrame [V], by unique names."""
    v = model.vocabulary
    obs = pd.DataFrame({"symbol": v.symbols, "ensembl_id": v.ensembl}, index=v.names)
    twice = obs.index.duplicated(keep=False)  # each of these has an Ensembl id of its own
    obs.index = np.where(twice, obs["ensembl_id"], obs.index).astype(str)
    tables = model.tables
    if "mean" in tables:
        obs["mean"] = tables["mean"][: len(v)]
    if "measured" in tables:
        obs["trained"] = tables["measured"].any(axis=0)[: len(v)]
    if "detected" in tables:
        obs["n_cells"] = tables["detected"][: len(v)].astype(np.int64)
    return obs


def _provenance(model, checkpoint):
    return {
        "jaxcell": __version__,
        "checkpoint": str(checkpoint),
        "checkpoint_hash": model.sha256,
        "checkpoint_step": str(model.info["step"]),
        "checkpoint_revision": model.info.get("revision", ""),  # of the Hub
        "config": model.config.name,
    }
