"""A new run that starts from another run's parameters, matched by gene, special token and class."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell import config
from jaxcell.data.genes import GeneNames, read_gene_map
from jaxcell.data.matching import match
from jaxcell.sharding import path_of
from jaxcell.training.checkpoint import flatten, load_model
from jaxcell.training.rows import class_names, row_names, shapes

MIN_MATCHED = 0.05
# Fields that change what the same parameters compute; said where they differ, not refused.
COMPUTE = ("model.", "data.normalise.", "data.transforms", "data.total")


@dataclass
class WarmStart:
    """Parameters to start from.

    loaded : {path in the new model: (array of the new shape, bool that broadcasts to it, where it
        counts; None for the whole array)}
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


def _put(fresh, array, where):
    """``array`` in the place of ``fresh``, on its devices; only ``where``, if that is given."""
    placed = jax.make_array_from_callback(
        fresh.shape, fresh.sharding, lambda index: array[index].astype(fresh.dtype)
    )
    if where is None:
        return placed
    return jax.jit(jnp.where, out_shardings=fresh.sharding)(where, placed, fresh)


def read(path, c, vocabulary, labels, ontologies):
    """Read a checkpoint for a config.

    Parameters
    ----------
    path : workdir, step folder, model folder or 'hf://ORG/NAME[@REVISION]'
    c : the new run's config, its vocabulary and classes already the store's
    vocabulary, labels : the store's
    ontologies : {label: Ontology} of the labels whose classes are an ontology's terms

    Returns
    -------
    WarmStart

    Raises
    ------
    ValueError
        No checkpoint there; fewer than 5 % of the store's genes in it; or parameters that differ in
        path or shape, new heads, flags of tokens and rows for other genes, special tokens and
        classes apart; all of them are listed. What a model without batches does not have (the norm
        of tokens, vectors of classes) may be left out.
    """
    try:
        model = load_model(path)
    except ValueError as error:
        raise ValueError(f"config.train.init_from: {error}") from None
    theirs, ours = flatten(model.variables), shapes(c.model)
    where = f"config.train.init_from: {path}"
    fresh, dropped = _new_heads(theirs, ours), _new_heads(ours, theirs)
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
    known = [int(i) if i >= 0 else None for i in found.columns]
    there = row_names(model.config, known, model.labels, model.ontologies)
    here = row_names(c, range(of), labels, ontologies)
    flags = _new_flags(theirs, c.model)
    apart = _without_batches(theirs, ours, model.config.model)
    alone = {f"heads/{name}" for name in fresh | dropped} | {f"fields/{name}" for name in flags}
    _check(where, theirs, ours, there, here, alone | set(apart))
    loaded = {
        name: _moved(theirs[name], there[name][1], *here[name][::-1])
        if name in here
        else (theirs[name], None)
        for name in ours.keys() & theirs.keys()
    }
    old = class_names(model.config, model.labels, model.ontologies)
    new = class_names(c, labels, ontologies)
    provenance = {
        "path": str(path),
        "config": model.config.name,
        "sha256": model.sha256,
        "step": str(model.info["step"]),
        "genes_matched": matched,
        "genes_fresh": of - matched,
        "genes_left_out": known.count(None),
        "specials_fresh": sorted(set(c.model.specials) - set(model.config.model.specials)),
        "classes": {n: _classes(old[n], new[n]) for n in sorted(old.keys() & new.keys())},
        "heads_fresh": sorted(fresh),
        "heads_left_out": sorted(dropped),
        "flags_fresh": flags,
        "parts_left_out": apart,
    }
    return WarmStart(loaded, provenance, _report(provenance, c, model.config))


def _moved(array, there, here, axis):
    """Rows of an array in a new order: there, here, names of its rows and of ours, along an axis.

    Returns
    -------
    The array with our rows, and a bool that broadcasts to it: which of them were found
    """
    place = {name: i for i, name in enumerate(there) if name is not None}
    source = np.array([place.get(name, -1) for name in here])
    other = [i for i in range(array.ndim) if i != axis]
    return np.take(array, np.maximum(source, 0), axis), np.expand_dims(source >= 0, other)


def _classes(there, here):
    """How many of a label's classes were matched; None where the checkpoint does not know them."""
    both = len(set(there) & set(here))
    return {
        "matched": both,
        "fresh": len(here) - both,
        "left_out": len(there) - both if there else None,
    }


def _new_heads(known, asked):
    """Names of the heads in ``asked`` of which ``known`` has no parameter."""
    have = {k.split("/")[2] for k in known if k.startswith("params/heads/")}
    return {k.split("/")[2] for k in asked if k.startswith("params/heads/")} - have


def _new_flags(known, spec):
    """Names of the fields of flags of which ``known`` has no parameter."""
    have = {k.split("/")[2] for k in known if k.startswith("params/fields/")}
    flags = [n for n in spec.tokens if spec.fields[n].get("input", "").startswith("flags.")]
    return sorted(set(flags) - have)


def _without_batches(known, asked, spec):
    """Parts 'fields/norm', 'condition_batch' … of ``known``, for classes, that are not asked for.

    spec : of the model with these parts
    """
    rooms = {f"fields/{name}" for name in spec.metadata}
    rooms |= {f"condition_{name}" for name in spec.conditions}
    rooms |= {"fields/norm"} if spec.norm in ("batch", "domain") else set()
    return sorted(room for room in rooms if _holds(known, room) and not _holds(asked, room))


def _holds(paths, room):
    return any(_below(path, room) for path in paths)


def _below(path, room):
    """Whether a path, 'params/fields/norm/scale', lies in a room, 'fields/norm'."""
    return f"{path.partition('/')[2]}/".startswith(f"{room}/")


def _check(where, theirs, ours, there, here, alone):
    wrong = []
    for name in sorted(ours.keys() | theirs.keys()):
        if any(_below(name, room) for room in alone):
            continue
        (old, known), (new, asked) = _shape(name, theirs, there), _shape(name, ours, here)
        if known != asked:
            wrong.append(f"{name}: {old} there, {new} here")
    if wrong:
        raise ValueError(
            f"{where}: its parameters do not fit this config (a head under another name would "
            "start fresh); these differ:\n  " + "\n  ".join(wrong)
        )


def _shape(name, arrays, rows):
    """A parameter's shape, and the same with None for its rows that are matched by name."""
    if name not in arrays:
        return "absent", "absent"
    axis, shape = rows.get(name, (None,))[0], arrays[name].shape
    return shape, [None if i == axis else n for i, n in enumerate(shape)]


def _report(p, c, theirs):
    matched, fresh = p["genes_matched"], p["genes_fresh"]
    lines = [
        f"warm start from {p['path']} ({p['config']}, step {p['step']}, {p['sha256'][:12]}): "
        f"{matched:,} of the store's {matched + fresh:,} genes matched, {fresh:,} start fresh; "
        f"{p['genes_left_out']:,} of the checkpoint's are left out"
    ]
    if p["specials_fresh"]:
        lines.append(f"special tokens that start fresh: {', '.join(p['specials_fresh'])}")
    lines += [f"{name}: {_said(**numbers)}" for name, numbers in p["classes"].items()]
    if p["heads_fresh"]:
        lines.append(f"heads that start fresh: {', '.join(p['heads_fresh'])}")
    if p["heads_left_out"]:
        lines.append(f"heads that are left out: {', '.join(p['heads_left_out'])}")
    told = (
        "model.vocabulary:",
        *(f"model.{name}.classes:" for name in p["classes"]),
        *(f"model.heads.{h}." for h in p["heads_fresh"] + p["heads_left_out"]),
    )
    if p["flags_fresh"]:
        lines.append(f"fields of flags that start fresh: {', '.join(p['flags_fresh'])}")
    if p["parts_left_out"]:
        lines.append(f"left out, of the checkpoint's classes: {', '.join(p['parts_left_out'])}")
    differ = [
        line
        for line in config.differences(theirs, c)
        if line.startswith(COMPUTE) and not line.startswith(told)
    ]
    if differ:
        lines.append("fields that the checkpoint was trained with otherwise:")
        lines += [f"  {line}" for line in differ]
    return "\n".join(lines)


def _said(matched, fresh, left_out):
    if left_out is None:
        return f"the checkpoint does not say which its classes are: all {fresh} start fresh"
    return (
        f"{matched} of the store's {matched + fresh} classes matched, {fresh} start fresh; "
        f"{left_out} of the checkpoint's are left out"
    )
