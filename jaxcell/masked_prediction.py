"""What a model says of the masked genes of a store's held-out cells, bin by bin.

n cells, B of a batch, T tokens, V genes.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell import sharding
from jaxcell.config import bin_tables
from jaxcell.data.draft import Draft, cell_keys
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.statistics import of_tables
from jaxcell.data.store import Store
from jaxcell.data.transforms import build_transforms
from jaxcell.data.types import StrPath
from jaxcell.evaluation import masked
from jaxcell.losses import total as losses
from jaxcell.progress import bar
from jaxcell.registry import lookup
from jaxcell.training.checkpoint import load_model
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from jaxcell.training.step import make_forward

CELLS = 4096  # binned at a time
BINS = ("batch.target", "batch.next_values")  # what is a bin of each token


@dataclass
class Entries:
    """Masked genes of held-out cells, one entry each.

    cell : i64, the cell's place among the store's validation cells; gene : i64, of the vocabulary
    truth, predicted : i64, bins
    """

    cell: np.ndarray
    gene: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def masked_genes(
    store: StrPath | Store,
    checkpoint: StrPath,
    *,
    loss: str = "mgm",
    ratio: float | None = None,
    nonzero: float | None = None,
    seed: int = 0,
    draws: int = 1,
    k: int = 0,
) -> dict[str, Any]:
    """Metrics of the predicted bins of masked genes: ``jaxcell masked``.

    Parameters
    ----------
    store : Store or folder with validation cells, of the checkpoint's genes
    checkpoint : workdir, step folder, model folder or 'hf://ORG/NAME[@REVISION]'
    loss, ratio, nonzero, seed, draws : see `predict`
    k : also of a linear regression of each gene on the k most correlated ones, fitted on the
        store's training cells; 0: not

    Returns
    -------
    dict of name to what `evaluation.masked.scores` returns: 'model' and, where asked for,
    'regression'

    Raises
    ------
    ValueError
        As `predict`; or a regression, where cells did not measure all genes.
    """
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0), ("k", k, 0)):
        if value < least:
            raise ValueError(f"{name}: found {value}, expected {least} or more")
    store = store if isinstance(store, Store) else Store.open(store)
    model = load_model(checkpoint)
    how = dict(loss=loss, ratio=ratio, nonzero=nonzero, seed=seed, draws=draws)
    entries = predict(model, store, **how)
    bins = model.config.data.bin
    cut = int(bins.c) if bins.method == "value" else bins.number  # elsewhere c means nothing
    found = {"model": masked.scores(entries.truth, entries.predicted, cut)}
    if k:
        guess = regress(model, store, entries, k)
        found["regression"] = masked.scores(entries.truth, guess, cut)
    return found


def predict(model, store, *, loss="mgm", ratio=None, nonzero=None, seed=0, draws=1, batch_size=64):
    """Predicted and true bins where a loss of the model compares them, on validation cells.

    Logits of bins give the most probable one; a number is rounded, to 0 or above.

    Parameters
    ----------
    model : Model, see `load_model`
    store : Store with validation cells, of the model's genes
    loss : name of the loss whose prediction, target and mask are looked at
    ratio, nonzero : of the masks, in place of the config's: models that were trained with different
        masks are compared on the same ones
    seed : of the masks: a cell's are a function of it and of its place in the store
    draws : of masks for each cell

    Returns
    -------
    Entries, of one draw after the other

    Raises
    ------
    ValueError
        Other genes, no validation cells, values that are no bins, or no such loss.
    """
    c = model.config
    if store.vocabulary.with_specials(model.vocabulary.specials).sha256 != model.vocabulary.sha256:
        raise ValueError(
            f"{store.path}: its genes are not those of the model; prepare a "
            "store with --vocabulary and the model's vocabulary.json"
        )
    if not store.sizes["valid"]:
        raise ValueError(
            f"{store.path}: holds no validation cells; prepare one with --hold-out "
            "or --hold-out-fraction"
        )
    if "bin" not in c.data.transforms:
        raise ValueError(
            f"config.data.transforms: found {c.data.transforms}, expected 'bin' among them"
        )
    spec = lookup(c.losses, loss, "loss")
    if spec.get("target") not in BINS:
        raise ValueError(
            f"loss: found {loss!r}, which compares {spec.get('target', 'pairs of cells')}, "
            f"expected one of bins: {' or '.join(BINS)}"
        )
    c = c.copy_and_resolve_references()  # the model keeps its own
    c.seed = seed
    for name, value in (("ratio", ratio), ("nonzero", nonzero)):
        if value is None:
            continue
        if "draw_masks" not in c.data.transforms:
            raise ValueError(f"{name}: found {value}, expected none: {c.name} masks no genes")
        c.data.draw_masks[name] = value
    net = model_of(c, train=False)
    known = _tables(model, store, net)
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    statistics = of_tables(known, len(store.vocabulary))
    batches = Batches(store, c, "valid", batch_size, statistics=statistics, passes=draws)
    each = len(batches) // draws  # batches of a draw
    whole = sharding.replicated(mesh)
    variables, tables = jax.device_put((model.variables, known), whole)
    step = jax.jit(_make_step(net, c, spec, loss), out_shardings=whole)
    parts = []
    with (
        bar(len(batches), "masked genes", "batch") as shown,
        iterate(batches, threads=c.data.threads) as stream,
        jax.set_mesh(mesh),
    ):
        for number, batch in enumerate(stream):
            found = jax.device_get(step(variables, sharding.to_global(batch, mesh), tables))
            rows, places = np.nonzero(found["where"])
            parts.append(
                [
                    number % each * batch_size + rows,
                    *(found[k][rows, places] for k in ("ids", "truth", "predicted")),
                ]
            )
            shown.update()
    return Entries(
        *(np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True))
    )


def _tables(model, store, net):
    """The store's tables, with the model's own for what it bins and shows by."""
    names = ("mean", "zero_logit", "detected", *bin_tables(model.config.data))
    own = {name: model.tables[name] for name in names if name in model.tables}
    return {**tables_of(store, model.config, net.rows), **own}


def _make_step(net, c, spec, loss):
    """(variables, batch, tables) -> {'ids', 'truth', 'predicted', 'where'} [B, T]."""
    forward = make_forward(net, c)

    def step(variables, batch, tables):
        batch, outputs, _ = forward(variables, batch, tables, train=False)
        tree = {**outputs, "batch": batch, "tables": tables}
        pred, truth = (
            losses.resolve(tree, spec[k], f"losses.{loss}.{k}") for k in ("pred", "target")
        )
        ids = batch["ids"]
        if spec["target"].startswith("batch.next"):  # as `step` makes it: of the token behind
            ids = jnp.roll(ids, -1, axis=1)
        if truth.shape != ids.shape:
            raise ValueError(f"loss: {loss!r} compares {truth.shape}, expected one for each token")
        where = losses.mask_of(tree, spec["where"], truth.shape, f"losses.{loss}.where")
        where = where & batch["real"][:, None]
        bins = pred.argmax(axis=-1) if pred.ndim == 3 else jnp.maximum(jnp.rint(pred), 0)
        return {"ids": ids, "truth": truth, "predicted": bins, "where": where}

    return step


def bins_of(model, store, split):
    """The bins of all genes of a store's cells, as the model bins them: f32 [n, V].

    Raises
    ------
    ValueError
        Cells that did not measure all of the genes: an unknown value has no bin.
    """
    if not store.measured.all():
        raise ValueError(
            f"{store.path}: {int((~store.measured.all(axis=0)).sum())} of its genes are not "
            "measured in all of its datasets; a regression needs every gene of every cell"
        )
    c, genes = model.config.copy_and_resolve_references(), len(store.vocabulary)
    c.data.transforms = ("normalise", "bin", "sequence")
    c.data.sequence.number, c.data.sequence.zeros = genes, "all"
    transforms = build_transforms(c.data, c.model, of_tables(model.tables, genes))
    gene_sets = [np.flatnonzero(m).astype(np.int32) for m in store.measured]
    found = np.zeros((store.sizes[split], genes), np.float32)
    for start in range(0, len(found), CELLS):
        cells = np.arange(start, min(start + CELLS, len(found)))
        rows = store.read(split, cells)
        keys = cell_keys(c.seed, np.zeros_like(cells), cells)
        draft = Draft(rows, gene_sets, store.gene_set[rows.dataset], keys)
        for transform in transforms:
            transform(draft)
        ids, front = draft.batch["ids"], len(c.model.front or c.model.specials)
        np.put_along_axis(
            found[start : start + CELLS], ids[:, front:], draft.batch["values"][:, front:], axis=1
        )
    return found


def regress(model, store, entries, k=masked.NEIGHBOURS):
    """Bins of the entries by linear regressions on k genes (`masked.fit`): i64 [entries]."""
    fitted = masked.fit(bins_of(model, store, "train"), k)
    return fitted.predict(bins_of(model, store, "valid"), entries.cell, entries.gene)


def show(found):
    """The metrics as lines."""
    lines = []
    for name, one in found.items():
        shown = {m: one[m] for m in ("sensitivity", "hel_sensitivity", "npv_50")}
        texts = [f"{m} {'–' if v is None else format(v, '.3f')}" for m, v in shown.items()]
        lines.append(f"{name}: {', '.join(texts)}; {one['n_entries']:,} entries")
    return "\n".join(lines)
