"""A checkpoint of PyTorch → a model folder of ours; and one of ours → PyTorch.

Reading is in `files`, what a family's checkpoints are in a module of `families` and a table of
`rules`, moving the tensors in `torch`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxcell.conversion.card import hub_folder
from jaxcell.conversion.export import export
from jaxcell.conversion.families import bioformer, bmfm_rna, ours, scformer, scgpt
from jaxcell.conversion.files import read_names, read_source
from jaxcell.conversion.torch import convert_tensors, plan
from jaxcell.data.types import Names, StrPath
from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.registry import lookup
from jaxcell.training.checkpoint import VERSION, Model, flatten, load_model, save_model
from jaxcell.training.formats import unflatten
from jaxcell.writing import check_free, whole_folder

FAMILIES = {  # the first that recognises a checkpoint has it
    "jaxcell": ours.FAMILY,
    "bmfm_rna": bmfm_rna.FAMILY,
    "scgpt": scgpt.FAMILY,
    "scformer": scformer.FAMILY,
    "bioformer": bioformer.FAMILY,
}


class Converted(NamedTuple):
    """What a conversion did.

    out : the folder with the model; family : whose checkpoint it was
    used : names of the tensors that were converted; left_out : {name: why} of the others
    parameters : how many there are, without padded rows; genes : of the vocabulary
    said : lines on what was assumed
    """

    out: Path
    family: str
    used: tuple
    left_out: dict
    parameters: int
    genes: int
    said: tuple

    def __str__(self):
        lines = [
            f"{self.out}: {self.family}: {len(self.used)} tensors, {self.parameters:,} parameters, "
            f"{self.genes:,} genes",
            *(f"left out: {name}: {why}" for name, why in self.left_out.items()),
        ]
        return "\n".join([*lines, *self.said])


def convert(
    source: StrPath,
    out: StrPath,
    *,
    to: str = "jaxcell",
    family: str | None = None,
    classes: Names | Mapping[str, Names] | None = None,
    batches: Names | Mapping[str, Names] | None = None,
    clip: float | None = None,
    genes: Names | None = None,
    heads: int | None = None,
    report: StrPath | None = None,
    licence: str | None = None,
) -> Converted:
    """Make a model folder of a checkpoint of PyTorch; or of a model of ours one for others.

    Weights alone are read, from safetensors or by torch's weights-only reader; pickled objects are
    refused. Everything is checked before anything is written.

    Parameters
    ----------
    source : folder with one file of weights and what belongs to it; the file of weights; or
        'hf://ORG/NAME[@REVISION]'. But for ``to`` 'jaxcell' a model of ours: a workdir, one of its
        step folders, a model folder, or an address on the Hub
    out : folder to write; must not exist
    to : 'jaxcell', which `jaxcell.embed` and all else take as a checkpoint; 'torch', which
        `jaxcell.conversion.torch_model.load` reads without JAX (and `convert` back, bit for bit);
        or 'hub-folder', a model folder to upload with its card, see `card.hub_folder`
    family : to jaxcell: whose checkpoint it is, of FAMILIES; None: whose tensors have such names
    classes, batches : to jaxcell: names of the classifier's classes, and of the batches that norms,
        decoders or an adversary tell apart, in the checkpoint's order: a list, or a text file with
        one a line; of several labels {label: list or file}. None: as the checkpoint names them, or
        'class 0', 'batch 0' …
    clip : to jaxcell: the highest value of a model of raw counts, where its files do not say; None:
        13, see `jaxcell.conversion.families.scformer`
    genes : to jaxcell: of a model without a vocabulary, its genes in the order of its rows: a list,
        or a text file with one a line. None: what lies beside the weights, see
        `jaxcell.conversion.families.bioformer`
    heads : to jaxcell: of attention, where no file says; None: as published
    report : to hub-folder: what `evaluate` wrote, for the card; None: the workdir's
    licence : to hub-folder: of the weights, as the Hub names it, 'mit'

    Returns
    -------
    Converted

    Raises
    ------
    ValueError
        A file is missing, damaged or would have to run code; a tensor is missing, unexpected, of
        another shape or type, or holds NaN; names do not fit; ``out`` exists; something was told
        that is of no use.
    ImportError
        Weights of torch and no torch of 2.6 or newer; an address on the Hub, no huggingface_hub.
    """
    of_torch: dict[str, Any] = dict(family=family, classes=classes, batches=batches)
    of_torch |= dict(clip=clip, genes=genes, heads=heads)
    told = {**of_torch, "report": report, "licence": licence}
    told = {option: value for option, value in told.items() if value is not None}
    known = {"jaxcell": of_torch, "torch": (), "hub-folder": ("report", "licence")}
    known = lookup(known, to, "to")
    for option, value in told.items():
        if option not in known:
            raise ValueError(f"{option}: found {_shown(value)}, expected none: of no use to {to}")
    check_free(out)
    return {"jaxcell": _from_torch, "torch": _to_torch, "hub-folder": _to_hub}[to](
        source, Path(out), **told
    )


def _shown(value):
    return repr(value) if isinstance(value, int | str) else "some"


def _from_torch(source, out, family=None, classes=None, batches=None, **options):
    found = read_source(source)
    try:
        name, made_by = _family_of(found, family)
        _check_options(name, made_by, options)
        found = made_by.migrated(found)
        described = made_by.describe(found, **options)
        variables, used, left_out = variables_of(found.tensors, described, made_by)
    except ValueError as error:
        raise ValueError(f"{found.weights}: {error}") from error
    except (TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{found.weights}: what lies beside it describes no such model "
            f"({type(error).__name__}: {error}); compare it with the family's own files"
        ) from error
    labels = _names(described, {"class": classes, "batch": batches})
    info = {"step": "converted", "source": str(found.weights), "family": name}
    info |= described.told
    own = dict(tables=described.tables or {}, ontologies=described.ontologies or {})
    model = Model(described.config, described.vocabulary, labels, variables, info=info, **own)
    needs = sum(x.nbytes for x in flatten(variables).values())
    with whole_folder(out, needs) as folder:
        save_model(folder, model)
    said = [f"read from {found.weights}", *described.said]
    return _converted(out, model, used, left_out, said)


def _to_torch(source, out):
    model = load_model(source)
    return _converted(out, model, export(model, out))


def _to_hub(source, out, **told):
    hub_folder(source, out, **told)
    model = load_model(out)
    said = [f"a card for the Hub: {out / 'README.md'}; upload: hf upload ORG/NAME {out}"]
    if "licence" not in told:
        said.append("the card names no licence: --licence NAME")
    return _converted(out, model, tuple(flatten(model.variables)), said=said)


def _converted(out, model, used, left_out=MappingProxyType({}), said=()):
    number, genes = count_parameters(model.config.model), len(model.vocabulary)
    family = model.info.get("family", "jaxcell")
    return Converted(out, family, used, dict(left_out), number, genes, tuple(said))


def _family_of(source, family):
    """(name, `Family`) that was asked for, or the first that recognises a checkpoint."""
    if family is not None:
        return family, lookup(FAMILIES, family, "family")
    for name, one in FAMILIES.items():
        if one.recognises(source):
            return name, one
    if source.weights.with_name(VERSION).is_file():
        raise ValueError(
            "is a model of jaxcell already; say what it shall be: --to torch, hub-folder"
        )
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


def _check_options(name, family, told):
    """Raise ValueError for what its family cannot be told about a checkpoint."""
    for option, value in told.items():
        if option not in family.options:
            users = ", ".join(n for n, one in FAMILIES.items() if option in one.options)
            raise ValueError(
                f"{option}: found {_shown(value)}, expected none: {name} is not {users}"
            )


def variables_of(tensors, described, family, dtype=np.float32):
    """The variables of a described checkpoint's model.

    Returns
    -------
    {'params': …, 'batch_stats': …} in ``dtype``, names of the tensors used, {name: why} of others
    """
    model = CellModel(described.config.model)
    targets = flatten(model.shapes())
    shapes = {path: leaf.shape for path, leaf in targets.items()}
    made = plan(tensors, (*family.rules, *described.rules), family.left_out, shapes)
    context = {"rows": described.rows, "genes": len(described.vocabulary), **described.context}
    flat = convert_tensors(tensors, made, shapes, dtype=dtype, **context)
    variables = {"batch_stats": {}, **unflatten(flat)}
    return variables, tuple(name for name, _, _ in made.used), made.left_out
