"""What a batch and the tables of a config hold, as shapes: for checks, plans and benchmarks.

B cells, T tokens, N panel slots, V genes, R rows of a gene table.
"""

import jax
import jax.numpy as jnp

from jaxcell import config
from jaxcell.losses import total as losses
from jaxcell.models.cell import CellModel, external_shapes, flags_of, labels_of


def tokens_of(c):
    """T: the special tokens in front, and the genes shown."""
    number = min(config.tokeniser(c.data).number, c.model.vocabulary)
    return len(c.model.front or c.model.specials) + number


def _of(shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def _labels(c):
    """The labels that the model is told or predicts, and those that losses alone compare."""
    steps = (path.split(".") for path in losses.paths_of(c.losses))
    return {*labels_of(c.model), *(s[2] for s in steps if s[:2] == ["batch", "labels"])}


def batch_shapes(c, cells, panel, tokens=None):
    """{name: ShapeDtypeStruct} of a batch as the pipeline makes it.

    cells : B; panel : N; tokens : T, the config's by default
    """
    t = tokens or tokens_of(c)
    found = {
        "ids": _of((cells, t), jnp.int32),
        "values": _of((cells, t)),
        "length": _of((cells,), jnp.int32),
        "panel_ids": _of((cells, panel), jnp.int32),
        "panel_counts": _of((cells, panel)),
        "total": _of((cells,)),
        "dataset": _of((cells,), jnp.int32),
        "labels": {name: _of((cells,), jnp.int32) for name in _labels(c)},
        "real": _of((cells,), bool),
    }
    if flags := flags_of(c.model):
        found["flags"] = {name: _of((cells, t), jnp.int32) for name in flags}
    if "draw_masks" in c.data.transforms:
        found["draws"] = {name: _of((cells, t)) for name in c.data.draw_masks.fields}
        if c.data.draw_masks.replaced:
            found["other"] = {k: _of((cells, t), jnp.int32) for k in found["draws"]}
    if "thin" in c.data.transforms:
        found["depth"] = _of((cells, 2))
    return found


def table_shapes(c):
    """{name: ShapeDtypeStruct} of the tables that `training.means.tables_of` makes."""
    model = CellModel(c.model)
    classes = {h.label: h.classes for h in c.model.heads.values() if "label" in h}
    found = {
        "measured": _of((1, model.rows), bool),
        "gene_set": _of((1,), jnp.int32),
        **{name: _of((model.rows,)) for name in ("mean", "detected", "zero_logit", "mask_rate")},
        **external_shapes(c.model, model.token_rows, _of),
    }
    found["leaves"] = {
        name: _of((classes[name], classes[name]), bool)
        for name in c.ontology.labels
        if name in classes
    }
    found["targets"] = {name: _of((1, classes[name])) for name in c.targets if name in classes}
    return found
