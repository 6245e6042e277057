"""A checkpoint of PyTorch → a model folder of ours.

Reading is in `files`, what a family's checkpoints are in a module of `families` and a table of
`rules`, moving the tensors in `torch`.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxcell.conversion.families import bioformer, bmfm_rna, scformer, scgpt
from jaxcell.conversion.files import read_names, read_source
from jaxcell.conversion.torch import convert_tensors, plan
from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.registry import lookup
from jaxcell.training.checkpoint import Model, flatten, save_model, unflatten

FAMILIES = {  # the first that recognises a checkpoint has it
    "bmfm_rna": bmfm_rna.FAMILY,
    "scgpt": scgpt.FAMILY,
    "scformer": scformer.FAMILY,
    "bioformer": bioformer.FAMILY,
}


class Converted(NamedTuple):
    """What a conversion did.

    out : the folder with the model
    used : names of the tensors that were converted; left_out : {name: why} of the others
    parameters : how many there are, without padded rows; genes : of the vocabulary
    said : lines on what was assumed
    """

    out: Path
    used: tuple
    left_out: dict
    parameters: int
    genes: int
    said: tuple

    def __str__(self):
        lines = [
            f"{self.out}: {len(self.used)} tensors, {self.parameters:,} parameters, "
            f"{self.genes:,} genes",
            *(f"left out: {name}: {why}" for name, why in self.left_out.items()),
        ]
        return "\n".join([*lines, *self.said])


def convert(
    source, out, *, family=None, classes=None, batches=None, clip=None, genes=None, heads=None
):
    """Make a model folder of ours from a checkpoint of PyTorch.

    Weights alone are read, from safetensors or by torch's weights-only reader; pickled objects are
    refused. Everything is checked before anything is written.

    Parameters
    ----------
    source : folder with one file of weights and what belongs to it; or the file of weights
    out : folder to write; must not exist. `jaxcell.embed` and `jaxcell.genes` take it as a
        checkpoint
    family : whose checkpoint it is, of FAMILIES; None: whose tensors have such names
    classes, batches : names of the classifier's classes, and of the batches that norms, decoders or
        an adversary tell apart, in the checkpoint's order: a list, or a text file with one a line;
        of several labels {label: list or file}. None: as the checkpoint names them, or 'class 0',
        'batch 0' …
    clip : the highest value of a model of raw counts, where its files do not say; None: 13, see
        `jaxcell.conversion.families.scformer`
    genes : of a model without a vocabulary, its genes in the order of its rows: a list, or a text
        file with one a line. None: what lies beside the weights, see
        `jaxcell.conversion.families.bioformer`
    heads : of attention, which no tensor tells, where its files do not say; None: as published

    Returns
    -------
    Converted

    Raises
    ------
    ValueError
        A file is missing, damaged or would have to run code; a tensor is missing, unexpected, of
        another shape or type, or holds NaN; names do not fit; ``out`` exists.
    ImportError
        Weights of torch, and no torch of 2.6 or newer.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out}: exists already; remove it or name another output")
    found = read_source(source)
    try:
        name, made_by = _family_of(found, family)
        options = _options(name, made_by, clip=clip, genes=genes, heads=heads)
        found = made_by.migrated(found)
        described = made_by.describe(found, **options)
        variables, used, left_out = variables_of(found.tensors, described, made_by)
    except ValueError as error:
        raise ValueError(f"{found.weights}: {error}") from error
    labels = _names(described, {"class": classes, "batch": batches})
    info = {"step": "converted", "source": str(found.weights), "family": name}
    info |= described.told
    model = Model(described.config, described.vocabulary, labels, variables, {}, info)
    save_model(out, model)
    number, genes = count_parameters(described.config.model), len(described.vocabulary)
    return Converted(out, used, left_out, number, genes, tuple(described.said))


def _family_of(source, family):
    """(name, `Family`) that was asked for, or the first that recognises a checkpoint."""
    if family is not None:
        return family, lookup(FAMILIES, family, "family")
    for name, one in FAMILIES.items():
        if one.recognises(source):
            return name, one
    some = ", ".join(sorted(source.tensors)[:3])
    raise ValueError(
        f"is of no known family ({some} …); known are {', '.join(FAMILIES)}. If it is one of them, "
        "name it by family (--family)"
    )


def _names(described, given):
    """{label: names of its classes}: as given, as the checkpoint names them, or made up.

    given : {'class' | 'batch': names, a file of them, {label: either} or None}
    """
    labels = dict(described.names)
    for what, names in given.items():
        there = {label: one for label, one in described.classes.items() if one[1] == what}
        if names is not None and not there:
            raise ValueError(f"names of each {what}: found some, expected none: it has no such")
        if names is not None and not isinstance(names, dict):
            if len(there) > 1:
                raise ValueError(
                    f"names of each {what}: found those of one label, expected LABEL=names for "
                    f"some of {', '.join(there)}"
                )
            names = dict.fromkeys(there, names)
        for label in names or ():
            lookup(there, label, f"names of each {what}: label")
        for label, (number, _, tensor) in there.items():
            if names and label in names:
                labels[label] = read_names(names[label], number, what, tensor)
            elif label not in labels:
                labels[label] = read_names(None, number, what, tensor)
    return labels


def _options(name, family, **given):
    """What was told about a checkpoint, of what its family can be told."""
    told = {option: value for option, value in given.items() if value is not None}
    for option, value in told.items():
        if option not in family.options:
            users = ", ".join(n for n, one in FAMILIES.items() if option in one.options)
            found = value if isinstance(value, int | str) else "some"
            raise ValueError(f"{option}: found {found}, expected none: {name} is not {users}")
    return told


def variables_of(tensors, described, family, dtype=np.float32):
    """The variables of a described checkpoint's model.

    Returns
    -------
    {'params': …, 'batch_stats': …} in ``dtype``, names of the tensors used, {name: why} of others
    """
    model = CellModel(described.config.model)
    targets = flatten(jax.eval_shape(model.init, jax.random.key(0)))
    shapes = {path: leaf.shape for path, leaf in targets.items()}
    rules = family.rules(tensors) if callable(family.rules) else family.rules
    made = plan(tensors, rules, family.left_out, shapes)
    context = {"rows": described.rows, **described.context}
    flat = convert_tensors(tensors, made, shapes, dtype=dtype, **context)
    variables = {"batch_stats": {}, **unflatten(flat)}
    return variables, tuple(name for name, _, _ in made.used), made.left_out
