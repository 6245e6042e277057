"""What a family of checkpoints has to say of itself, and what it says of one checkpoint."""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from jaxcell.data.vocabulary import Vocabulary

ANY = (-math.inf, math.inf)


class Family(NamedTuple):
    """Who makes checkpoints: how one is recognised and described, and where its tensors go.

    recognises : `files.Source` -> bool, from the names of its tensors
    describe : (`files.Source`, **options) -> `Described`
    rules, left_out : tables of `torch.Rule` and `torch.LeftOut`
    options : names of what `convert` may be told about such a checkpoint beside its files
    migrated : `files.Source` -> the same by the names that describe and rules know
    """

    recognises: Callable
    describe: Callable
    rules: tuple = ()
    left_out: tuple = ()
    options: tuple = ()
    migrated: Callable = lambda source: source


class Described(NamedTuple):
    """What a foreign checkpoint is in our terms.

    rows : i64 [V + S], our token of each row of its vocabulary
    classes : {label: (number, 'class' or 'batch', the tensor that has so many)}
    said : lines on what was assumed
    names : {label: its classes' names}, of those that the checkpoint names itself
    told : {file or field: text} of how it describes itself, which travels with the model
    context : what layouts ask for beside the rows, see `layouts.LAYOUTS`
    rules : of this checkpoint alone, beside its family's: of names that users chose
    tables, ontologies : of the model, None: none; see `jaxcell.training.checkpoint.Model`
    """

    config: object
    vocabulary: Vocabulary
    rows: np.ndarray
    classes: dict
    said: list
    names: dict
    told: dict
    context: Mapping = MappingProxyType({})
    rules: tuple = ()
    tables: dict | None = None
    ontologies: dict | None = None


class Tensors:
    """The shapes of tensors, which are asked for by name; ``family`` is whose they should be."""

    def __init__(self, tensors, family):
        self.shapes, self._family = {name: np.shape(x) for name, x in tensors.items()}, family

    def __contains__(self, name):
        return name in self.shapes

    def shape(self, name, axes):
        """The shape of a tensor of so many axes."""
        if name not in self.shapes:
            raise ValueError(
                f"the tensor {name} is missing, which every checkpoint of {self._family} has"
            )
        shape = self.shapes[name]
        if len(shape) != axes or 0 in shape:
            raise ValueError(f"the tensor {name} has shape {shape}, expected {axes} axes")
        return shape

    def numbers(self, pattern):
        """How many different numbers stand where ``pattern`` has its group."""
        found = (re.match(pattern, name) for name in self.shapes)
        return len({one[1] for one in found if one})


def argument(args, name, kind, default=None, file="args.json", least=-math.inf, most=math.inf):
    """A number of a JSON file, ``least`` to ``most``.

    Raises
    ------
    ValueError
        It is missing and has no default, or is no number.
    """
    found = args.get(name, default)
    right = isinstance(found, kind) and not isinstance(found, bool) and math.isfinite(found)
    if not right or not least <= found <= most:
        wanted = "a whole number" if kind is int else "a number"
        within = "" if (least, most) == ANY else f" from {least:g} to {most:g}"
        raise ValueError(f"{file}: {name}: found {found!r}, expected {wanted}{within}")
    return found
