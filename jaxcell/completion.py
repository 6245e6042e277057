"""A decoder-only checkpoint and partial cells → the bins of all its genes, in a new AnnData.

B cells, T tokens, V genes of the model, A genes asked for.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np

from jaxcell.data import draws
from jaxcell.data.checks import check_chunk
from jaxcell.data.draft import Draft
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source
from jaxcell.data.types import Cells, StrPath
from jaxcell.data.vocabulary import Vocabulary, read_vocabulary
from jaxcell.embedder import Embedder
from jaxcell.gene_vectors import table_of
from jaxcell.generation import Completer, next_bins
from jaxcell.progress import bar
from jaxcell.results import check_call, save
from jaxcell.training.checkpoint import load_model

ORDER, BINS = 20, 21  # streams of a cell's draws, see Draft.keys_of
UNKNOWN = -1  # in place of a bin


def complete(
    data: Cells,
    checkpoint: StrPath,
    *,
    out: StrPath | None = None,
    genes: StrPath | Sequence[str] | None = None,
    temperature: float = 0.0,
    probabilities: bool = False,
    counts: str = "X",
    batch_size: int = 1024,
    seed: int = 0,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    duplicates: str = "error",
    allow_non_integer: bool = False,
    progress: bool = True,
) -> anndata.AnnData | Path:
    """Predict the bins of genes that cells did not measure, with a decoder-only model.

    What a cell measured stands first, in a drawn order and in bins as in training. Then the model
    is asked for one gene after the other, in a drawn order too, and reads its own answers. Both
    orders, and bins drawn at a temperature, follow from the seed and the cell's own counts: no
    cell's bins depend on the other cells, their order or the batch size.

    Parameters
    ----------
    data : AnnData (not changed), path of an h5ad file, or 'scanpy:pbmc68k_reduced'
    checkpoint : workdir of a training run, a step folder in its checkpoints, a model folder, or
        'hf://ORG/NAME[@REVISION]'
    out : h5ad to write; must not exist. None writes nothing
    genes : those to ask for: names, or a file with one in each line. By default all that some
        training cell measured and the file did not; those that it did are not asked for
    temperature : 0: the likeliest bin; above 0 bins are drawn ∝ exp(logits / temperature)
    probabilities : also the probabilities of a count above 0, layer 'nonzero'
    counts, seed, identifiers, gene_map, duplicates, allow_non_integer, progress : as in ``embed``
    batch_size : cells read and held at a time; does not change any bin

    Returns
    -------
    AnnData [B, V] or Path
        ``out``, where one is named. ``layers['bins']`` i16: of measured genes the cell's own, of
        those asked for the model's, −1 of others and where a cell has no count at all;
        ``layers['nonzero']`` f32, NaN of genes that were not asked for. ``var`` are the model's
        genes, as ``jaxcell genes`` has them, with ``measured`` and ``asked``; ``obs`` is that of
        ``data``; ``uns['jaxcell']['completion']`` says where they come from. X is absent.

    Raises
    ------
    ValueError
        For a model that is not decoder-only, values that are not counts, genes that the model does
        not know, or nothing to ask for. Nothing is written then.
    """
    check_call(None, out, None, batch_size, seed)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature: found {temperature}, expected 0 or more")
    model = load_model(checkpoint)
    c = model.config
    try:
        next_bins(c)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None
    # All that a cell measured, zeros too where training showed them.
    zeros = "exclude" if c.data.sequence.zeros == "exclude" else "all"
    c.embed.genes, c.embed.draws, c.embed.zeros = 0, 1, zeros
    source = open_source(data, counts=counts, chunk_cells=batch_size)
    names = identify(source.var, identifiers, source.name)
    found = match(names, model.vocabulary, read_gene_map(gene_map), duplicates, source.name)
    embedder = Embedder(model, source, found, seed, "")
    (measured,) = embedder.gene_sets
    asked = _asked(model, measured, genes)
    trained, specials = c.data.sequence.number, len(c.model.front or c.model.specials)
    if len(measured) + len(asked) > trained:
        warnings.warn(
            f"{source.name}: cells have up to {len(measured)} genes, and {len(asked)} more are "
            f"asked for; training showed {trained}",
            stacklevel=2,
        )
    completer, parts, looks = Completer(c, temperature, model.tables), [], ""
    v = len(model.vocabulary)
    with bar(source.n_cells, "complete", "cell", shown=progress) as shown:
        for chunk in source.chunks():
            looks = check_chunk(chunk, source, allow_non_integer, embedder.given) or looks
            parts.append(_layers(embedder, completer, chunk, measured, asked, v, shown.update))
    if looks:
        warnings.warn(f"{source.name}: non-integer values taken as they are: {looks}", stacklevel=2)
    bins, nonzero = (np.concatenate(part) for part in zip(*parts, strict=True))
    layers = {"bins": bins, "nonzero": nonzero} if probabilities else {"bins": bins}
    var, everyone = table_of(model), np.arange(v)
    var["measured"], var["asked"] = np.isin(everyone, measured), np.isin(everyone, asked)
    adata = anndata.AnnData(obs=source.obs.copy(), var=var, layers=layers)
    provenance = {
        **embedder.provenance(checkpoint, looks or "integer counts"),
        "genes_asked": len(asked),
        "temperature": float(temperature),
        "tokens": specials + len(measured) + len(asked),
    }
    adata.uns["jaxcell"] = {"completion": provenance}
    return save(adata, out)


def _asked(model, measured, genes):
    """Ids of the genes to ask for, i32 [A], ascending."""
    vocabulary = model.vocabulary
    known = model.tables["measured"].any(axis=0)[: len(vocabulary)]  # in some training cell
    if genes is None:
        wanted = np.flatnonzero(known)
    else:
        given = genes if isinstance(genes, list | tuple) else read_vocabulary(genes)
        wanted = [_find(vocabulary, name) for name in _names(given)]
        if lost := [vocabulary.name(gene) for gene in wanted if not known[gene]]:
            raise ValueError(f"genes: no training cell of this model measured {_some(lost)}")
    asked = np.setdiff1d(wanted, measured).astype(np.int32)
    if not len(asked):
        raise ValueError("genes: the file measured all that the model can be asked for")
    return asked


def _names(given):
    if not isinstance(given, Vocabulary):
        return given
    return [e or s for s, e in zip(given.symbols, given.ensembl, strict=True)]


def _find(vocabulary, name):
    gene = vocabulary.by_ensembl.get(name, vocabulary.by_symbol.get(name))
    if gene is None:
        raise ValueError(
            f"genes: {name!r} is no gene of the model's {len(vocabulary)}; leave it out"
        )
    return gene


def _some(names, most=5):
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def _layers(embedder, completer, chunk, measured, asked, genes, advance):
    """Bins i16 and probabilities f32 of a chunk's cells, both [B, V]."""
    rows, keys = embedder.cells(chunk)
    batch = embedder.tokens(rows, keys)
    draft = Draft(rows=rows, gene_sets=embedder.gene_sets, gene_set=rows.dataset, keys=keys)
    order = np.empty((len(rows), len(asked)), np.int32)
    for cells in draws.blocks(len(rows), len(asked)):
        ranks = np.sort(draws.ranks(draft.keys_of(ORDER)[cells], len(asked)), axis=1)
        order[cells] = asked[(ranks & draws.PLACE).astype(np.int64)]
    batch |= {"asked": order, "keys": draws.words(draft.keys_of(BINS), 2)}
    answers, chances = completer(embedder.variables, batch, advance)
    empty = np.diff(rows.indptr) == 0
    answers[empty], chances[empty] = UNKNOWN, np.nan
    bins = np.full((len(rows), genes), UNKNOWN, np.int16)
    nonzero = np.full(bins.shape, np.nan, np.float32)
    bins[:, measured] = 0  # where zeros are not shown
    shown = np.arange(batch["ids"].shape[1]) < batch["length"][:, None]
    cell, place = np.nonzero(shown & (batch["ids"] < genes))
    bins[cell, batch["ids"][cell, place]] = batch["values"][cell, place]
    np.put_along_axis(bins, order, answers.astype(np.int16), axis=1)
    np.put_along_axis(nonzero, order, chances, axis=1)
    return bins, nonzero
