"""A new run that starts from another run's parameters; gene tables are matched by gene.

R rows of a gene table (vocabulary, padded).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell import config
from jaxcell.data.genes import GeneNames, read_gene_map
from jaxcell.data.matching import match
from jaxcell.models.cell import CellModel
from jaxcell.sharding import path_of
from jaxcell.training.checkpoint import flatten, load_model

MIN_MATCHED = 0.05
# Fields that change what the same parameters compute; said where they differ, not refused.
COMPUTE = ("model.", "data.normalise.", "data.transforms", "data.total")


@dataclass
class WarmStart:
    """Parameters to start from.

    loaded : {path in the new model: (array of the new shape, bool [R] of the rows that count or
        None for the whole array)}
    provenance : what run.json keeps of it
    report : what the run prints of it
    """

    loaded: dict
    provenance: dict
    report: str

    def apply(self, state):
        """The state with the loaded parameters, laid out as it is; its optimizer stays new."""

        def one(keys, fresh):
            path = path_of(keys)
            return _put(fresh, *self.loaded[path]) if path in self.loaded else fresh

        fresh = {"params": state.params, "batch_stats": state.batch_stats}
        return state.replace(**jax.tree_util.tree_map_with_path(one, fresh))


def _put(fresh, array, rows):
    """``array`` in the place of ``fresh``, on its devices; only its ``rows`` [R] where given."""
    placed = jax.make_array_from_callback(
        fresh.shape, fresh.sharding, lambda index: array[index].astype(fresh.dtype)
    )
    if rows is None:
        return placed
    rows = np.expand_dims(rows, tuple(range(1, fresh.ndim)))
    return jax.jit(jnp.where, out_shardings=fresh.sharding)(rows, placed, fresh)


def read(path, c, vocabulary):
    """Read a checkpoint for a config.

    Parameters
    ----------
    path : workdir, step folder or model folder
    c : the new run's config, its vocabulary already the store's
    vocabulary : the store's

    Returns
    -------
    WarmStart

    Raises
    ------
    ValueError
        No checkpoint there; fewer than 5 % of the store's genes in it; or parameters other than
        gene tables and new heads that differ in path or shape, all of which are listed.
    """
    try:
        model = load_model(path)
    except ValueError as error:
        raise ValueError(f"config.train.init_from: {error}") from None
    theirs, ours = flatten(model.variables), shapes(c.model)
    where = f"config.train.init_from: {path}"
    fresh, dropped = _new_heads(theirs, ours), _new_heads(ours, theirs)
    tables = gene_tables(c.model)
    _check(where, theirs, ours, tables, fresh | dropped)
    found = match(
        GeneNames(model.vocabulary.symbols, model.vocabulary.ensembl),
        vocabulary,
        read_gene_map(),
        "first",
        str(path),
    )
    matched, of = found.n_matched, len(vocabulary)
    if matched < MIN_MATCHED * of:
        raise ValueError(
            f"{where}: only {matched} of the store's {of} genes are in that checkpoint, fewer than "
            f"{MIN_MATCHED:.0%}. {found.report()}"
        )
    source = np.full(CellModel(c.model).rows, -1)  # row of their table for each row of ours
    column = np.flatnonzero(found.columns >= 0)
    source[found.columns[column]] = column
    loaded = {}
    for name in ours.keys() & theirs.keys():
        if name in tables:
            loaded[name] = theirs[name][np.maximum(source, 0)], source >= 0
        else:
            loaded[name] = theirs[name], None
    provenance = {
        "path": str(path),
        "config": model.config.name,
        "sha256": model.sha256,
        "step": str(model.info["step"]),
        "genes_matched": matched,
        "genes_fresh": of - matched,
        "genes_left_out": len(model.vocabulary) - len(column),
        "heads_fresh": sorted(fresh),
        "heads_left_out": sorted(dropped),
    }
    return WarmStart(loaded, provenance, _report(provenance, c, model.config))


def shapes(spec):
    """{'params/…': ShapeDtypeStruct} of a config's ``model``."""
    return flatten(jax.eval_shape(CellModel(spec).init, jax.random.key(0)))


def gene_tables(spec):
    """Paths of the parameters with a row for each gene: those that grow with the vocabulary.

    Raises
    ------
    ValueError
        When a parameter grows along another axis than its first.
    """
    larger = spec.copy_and_resolve_references()
    larger.vocabulary += larger.vocab_multiple
    before, after = shapes(spec), shapes(larger)
    grown = {k for k in before if before[k].shape != after[k].shape}
    for name in grown:
        if before[name].shape[1:] != after[name].shape[1:]:
            raise ValueError(f"{name} {before[name].shape} has genes along another axis than 0")
    return grown


def _new_heads(known, asked):
    """Names of the heads in ``asked`` of which ``known`` has no parameter."""
    have = {k.split("/")[2] for k in known if k.startswith("params/heads/")}
    return {k.split("/")[2] for k in asked if k.startswith("params/heads/")} - have


def _check(where, theirs, ours, tables, heads):
    wrong = []
    for name in sorted(ours.keys() | theirs.keys()):
        parts = name.split("/")
        if parts[1] == "heads" and parts[2] in heads:
            continue
        there = theirs[name].shape if name in theirs else "absent"
        here = ours[name].shape if name in ours else "absent"
        axis = 1 if name in tables else 0
        if "absent" in (there, here) or there[axis:] != here[axis:]:
            wrong.append(f"{name}: {there} there, {here} here")
    if wrong:
        raise ValueError(
            f"{where}: its parameters do not fit this config (a head under another name would "
            "start fresh); these differ:\n  " + "\n  ".join(wrong)
        )


def _report(p, c, theirs):
    matched, fresh = p["genes_matched"], p["genes_fresh"]
    lines = [
        f"warm start from {p['path']} ({p['config']}, step {p['step']}, {p['sha256'][:12]}): "
        f"{matched:,} of the store's {matched + fresh:,} genes matched, {fresh:,} start fresh; "
        f"{p['genes_left_out']:,} of the checkpoint's are left out"
    ]
    if p["heads_fresh"]:
        lines.append(f"heads that start fresh: {', '.join(p['heads_fresh'])}")
    if p["heads_left_out"]:
        lines.append(f"heads that are left out: {', '.join(p['heads_left_out'])}")
    told = (
        "model.vocabulary:",
        *(f"model.heads.{h}." for h in p["heads_fresh"] + p["heads_left_out"]),
    )
    differ = [
        line
        for line in config.differences(theirs, c)
        if line.startswith(COMPUTE) and not line.startswith(told)
    ]
    if differ:
        lines.append("fields that the checkpoint was trained with otherwise:")
        lines += [f"  {line}" for line in differ]
    return "\n".join(lines)
