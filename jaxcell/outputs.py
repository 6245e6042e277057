"""One number of each cell, by name: what of a model's outputs is explained.

B cells, n classes of a label (of an ontology: its leaves), V genes, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell.models.pools import names_of
from jaxcell.systems.bmfm_rna import sigmoids_of
from jaxcell.training.labels import names_of_several

SCALES = ("log_probability", "probability", "logit")
CELL = "cell"  # the vector itself


@dataclass(frozen=True)
class Output:
    """A scalar of each cell.

    Attributes
    ----------
    name, target, scale : as asked for; target '' where each cell has its predicted class, scale ''
        where it is no probability
    heads : names of those that must be computed
    classes : names of what ``choose`` may choose, or ()
    choose : a model's outputs of the cells themselves -> bool [B, n], what is explained of each
    value : a model's outputs, what was chosen -> [B]
    """

    name: str
    target: str
    scale: str
    heads: tuple[str, ...]
    classes: tuple[str, ...]
    choose: Callable
    value: Callable

    def __str__(self):
        """As a figure's title has it."""
        of = self.target or ("the predicted class" if self.classes else "")
        named = self.name + (f" = {of}" if self.classes else f", {of}" if of else "")
        return f"{self.scale.replace('_', ' ')} of {named}" if self.scale else named


def output_of(model, name, target=None, scale=None):
    """Find an output by the names of a checkpoint's config, labels and genes.

    Parameters
    ----------
    model : Model
    name : 'cell'; a label's head; or a head with a number for each gene, 'expression', or one of
        its parts, 'expression.is_zero'
    target : of 'cell' a component, by default the norm; of a label a class, or any term of its
        ontology, by default each cell's predicted class; else a gene
    scale : of a label's class or term 'log_probability' (the default), 'probability' or 'logit'
        (of a term: the logsumexp of its leaves' logits)

    Raises
    ------
    ValueError
        No such output, target or scale; the known ones are listed.
    """
    heads = model.config.model.heads
    labels = {n: h.label for n, h in heads.items() if "label" in h}
    if name in labels:
        kind = model.config.targets.get(labels[name])
        if kind == "number":
            _refuse("target", target, f"none: {name} is a number")
            _refuse("scale", scale, f"none: {name} is a number")
            return _plain(name, "", (name,), lambda outputs: outputs["heads"][name][:, 0])
        return _of_class(model, name, labels[name], kind, target, scale)
    _refuse("scale", scale, f"none: {name} is no label's head")
    if name == CELL:
        return _of_vector(model, target)
    head, _, part = name.partition(".")
    of_genes = {n: _parts(h) for n, h in heads.items() if _predicts_genes(h)}
    if head not in of_genes or part not in ("", *of_genes[head]):
        known = [CELL, *sorted(labels)]
        known += [".".join(filter(None, (n, p))) for n, ps in of_genes.items() for p in ps or ("",)]
        raise ValueError(f"output: found {name!r}, expected one of {', '.join(known)}")
    part = part or next(iter(of_genes[head]), "")
    gene = _gene(model.vocabulary, target, name)

    def value(outputs):
        found = outputs["heads"][head]
        return (found[part] if part else found)[:, gene]

    return _plain(name, model.vocabulary.name(gene), (head,), value)


def _refuse(field, found, expected):
    if found is not None:
        raise ValueError(f"{field}: found {found!r}, expected {expected}")


def _predicts_genes(head):
    """Whether a head gives each gene a number that follows from the cell's vector alone.

    Not one whose genes share a sum: who shares depends on what each cell measured.
    """
    kinds = ("vocabulary_mlp", "vocabulary_parts", "gene_linear")
    return head.kind in kinds and head.get("activation") != "softmax"


def _parts(head):
    if head.kind != "vocabulary_parts":
        return ()
    return tuple(head.get("parts", ("expression", "is_zero")))


def _plain(name, target, heads, value):
    """An output of which there is nothing to choose."""

    def nothing(outputs):
        return jnp.zeros((len(outputs["cell"]), 0), bool)

    return Output(name, target, "", heads, (), nothing, lambda outputs, _: value(outputs))


def _of_vector(model, target):
    if target is None:
        return _plain(CELL, "norm", (), lambda outputs: jnp.linalg.norm(outputs["cell"], axis=1))
    width = model.config.model.width * len(names_of(model.config.model.pool))
    if not str(target).isdecimal() or int(target) >= width:
        raise ValueError(
            f"target: found {target!r}, expected a component of the vector, 0 … "
            f"{width - 1}, or none for its norm"
        )
    return _plain(CELL, str(target), (), lambda outputs: outputs["cell"][:, int(target)])


def _gene(vocabulary, target, name):
    if target is None:
        raise ValueError(f"target: found none, expected a gene for the output {name!r}")
    try:
        gene = vocabulary.index(target)
    except KeyError as error:
        raise ValueError(f"target: {error.args[0]}") from None
    if gene >= len(vocabulary):
        raise ValueError(f"target: found the special token {target!r}, expected a gene")
    return gene


def _of_class(model, head, label, kind, target, scale):
    scale = scale or SCALES[0]
    if scale not in SCALES:
        raise ValueError(f"scale: found {scale!r}, expected one of {', '.join(SCALES)}")
    ontology, sigmoids = model.ontologies.get(label), sigmoids_of(model.config, head)
    if ontology is not None:
        names = tuple(ontology.names[i] for i in ontology.leaves)
    else:
        names = tuple(model.labels[label])
        names = tuple(names_of_several(names)) if kind == "several" else names
    inside = None
    if target is not None and ontology is not None:
        node = ontology.resolve(target)
        if node is None:
            raise ValueError(
                f"target: found {target!r}, expected a term of {ontology.source} above the "
                f"labels of {head}: {_list(ontology.names)}"
            )
        inside, target = ontology.under[node], ontology.names[node]
        if scale != "logit" and inside.all() and not sigmoids:
            raise ValueError(
                f"target: found {target!r}, which has every leaf of {head} and so the probability "
                "1 in every cell; expected a term further down"
            )
    elif target is not None:
        if target not in names:
            raise ValueError(
                f"target: found {target!r}, expected a class of {head}: {_list(names)}"
            )
        inside = np.array(names) == target

    def choose(outputs):
        z = outputs["heads"][head]
        if inside is None:
            return jnp.arange(z.shape[1])[None] == z.argmax(axis=1)[:, None]
        return jnp.broadcast_to(inside[None], z.shape)

    def value(outputs, inside):
        z = outputs["heads"][head]
        own = jax.nn.logsumexp(z, axis=1, where=inside)
        if scale == "logit":
            return own
        # Of a coarse term under sigmoids what its loss pushes to 1: that of the logsumexp.
        log_p = jax.nn.log_sigmoid(own) if sigmoids else own - jax.nn.logsumexp(z, axis=1)
        return jnp.exp(log_p) if scale == "probability" else log_p

    return Output(head, target or "", scale, (head,), names, choose, value)


def _list(names, most=12):
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")
