"""A checkpoint of PyTorch → a model folder of ours; and one of ours → PyTorch.

Reading is in `files`, what a family's checkpoints are in a module of `families` and a table of
`rules`, moving the tensors in `torch`.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxcell.conversion.export import export
from jaxcell.conversion.families import ours, scformer
from jaxcell.conversion.files import read_names, read_source
from jaxcell.conversion.torch import convert_tensors, plan
from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.registry import lookup
from jaxcell.training.checkpoint import Model, flatten, load_model, save_model, unflatten

# The first that recognises a checkpoint has it.
FAMILIES = {"jaxcell": ours.FAMILY, "scformer": scformer.FAMILY}


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


def convert(source, out, *, to="jaxcell", family=None, classes=None, batches=None, clip=None):
    """Make a model folder of ours from a checkpoint of PyTorch, or with ``to`` 'torch' the reverse.

    Weights alone are read, from safetensors or by torch's weights-only reader; pickled objects are
    refused. Everything is checked before anything is written.

    Parameters
    ----------
    source : folder with one file of weights and what belongs to it; or the file of weights. To
        torch: a workdir, one of its step folders, or a model folder
    out : folder to write; must not exist. `jaxcell.embed` and `jaxcell.genes` take it as a
        checkpoint, or to torch `jaxcell.conversion.torch_model.load`
    to : 'jaxcell' or 'torch'; what follows is of checkpoints of PyTorch alone
    family : whose checkpoint it is, of FAMILIES; None: whose tensors have such names
    classes, batches : names of the classifier's classes, and of the batches that norms, decoders or
        an adversary tell apart, in the checkpoint's order: a list, or a text file with one a line.
        None: 'class 0', 'batch 0' …
    clip : the highest value of a model of raw counts, where its files do not say; None: 13, see
        `jaxcell.conversion.scformer`

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
    out, given = Path(out), {"class": classes, "batch": batches}
    told = {"family": family, "classes": classes, "batches": batches, "clip": clip}
    if lookup({"jaxcell": False, "torch": True}, to, "to"):
        return _to_torch(source, out, told)
    if out.exists():
        raise ValueError(f"{out}: exists already; remove it or name another output")
    found = read_source(source)
    try:
        name, made_by = _family_of(found, family)
        options = _options(name, made_by, clip=clip)
        described = made_by.describe(found, **options)
        variables, used, left_out = variables_of(found.tensors, described, made_by)
    except ValueError as error:
        raise ValueError(f"{found.weights}: {error}") from error
    labels = dict(described.names)
    for label, (number, what, tensor) in described.classes.items():
        labels.setdefault(label, read_names(given.pop(what, None), number, what, tensor))
    if extra := [what for what, names in given.items() if names is not None]:
        raise ValueError(f"names of each {extra[0]}: found some, expected none: it has no such")
    info = {"step": "converted", "source": str(found.weights), "family": name}
    info |= described.told
    own = dict(tables=described.tables or {}, ontologies=described.ontologies or {})
    model = Model(described.config, described.vocabulary, labels, variables, info=info, **own)
    save_model(out, model)
    number, genes = count_parameters(described.config.model), len(described.vocabulary)
    return Converted(out, used, left_out, number, genes, tuple(described.said))


def _to_torch(source, out, told):
    """Export a model of ours, of which nothing need be told."""
    for option, value in told.items():
        if value is not None:
            raise ValueError(f"{option}: found {value!r}, expected none: the model is ours")
    model = load_model(source)
    names = export(model, out)
    number = count_parameters(model.config.model)
    return Converted(out, names, {}, number, len(model.vocabulary), ())


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


def _options(name, family, **given):
    """What was told about a checkpoint, of what its family can be told."""
    told = {option: value for option, value in given.items() if value is not None}
    for option, value in told.items():
        if option not in family.options:
            users = ", ".join(n for n, one in FAMILIES.items() if option in one.options)
            raise ValueError(f"{option}: found {value}, expected none: {name} is not {users}")
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
    made = plan(tensors, (*family.rules, *described.rules), family.left_out, shapes)
    context = dict(rows=described.rows, genes=len(described.vocabulary))
    flat = convert_tensors(tensors, made, shapes, dtype=dtype, **context)
    variables = {"batch_stats": {}, **unflatten(flat)}
    return variables, tuple(name for name, _, _ in made.used), made.left_out
