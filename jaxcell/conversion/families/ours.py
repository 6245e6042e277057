"""Our own models as `jaxcell.conversion.export` writes them for PyTorch, on their way back."""

import json
import re

import numpy as np

from jaxcell import config
from jaxcell.conversion.described import Described, Family
from jaxcell.conversion.exported import changed, read_description
from jaxcell.conversion.rules.jaxcell import rules_of
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import flatten, read_ontologies
from jaxcell.training.formats import read_tables
from jaxcell.training.rows import row_axes

NAME = re.compile(r"encoder\.(first|blocks\.\d+)\.attention\.qkv\.weight")


def recognises(source):
    """Whether these are the names of our tensors."""
    return any(NAME.fullmatch(name) for name in source.tensors)


def describe(source):
    """The model that an exported folder holds: all of it is written there.

    Raises
    ------
    ValueError
        A file is missing, damaged or another model's.
    """
    folder = source.weights.parent
    found = read_description(folder)
    c = config.from_json(json.dumps(found["config"]))
    config.check(c)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    targets = flatten(CellModel(c.model).shapes())
    shapes = {path: leaf.shape for path, leaf in targets.items()}
    if len(vocabulary) != c.model.vocabulary:
        raise ValueError(
            f"vocabulary.json: has {len(vocabulary)} genes, config.json says {c.model.vocabulary}"
        )
    told, said = dict(found["info"]), []
    if other := changed(found, source.tensors):
        # What was measured was another model's.
        told = {k: v for k, v in told.items() if not k.startswith("val/")}
        told["step"], said = "changed in PyTorch", [other]
    return Described(
        config=c,
        vocabulary=vocabulary,
        rows=np.arange(vocabulary.n_tokens),
        classes={},
        said=said,
        names=json.loads((folder / "labels.json").read_text(encoding="utf-8")),
        told=told,
        rules=rules_of(shapes, row_axes(c.model)),
        tables=read_tables(folder / "tables.npz"),
        ontologies=read_ontologies(folder / "ontologies.json"),
    )


FAMILY = Family(recognises, describe)
