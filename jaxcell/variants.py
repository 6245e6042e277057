"""Variants of a config, named behind its file: ``--config=configs/txfm_b.py:tiny,nb``.

Each changes a config in place and returns it; several are applied from left to right. Sizes first
(tiny, cpu), then the arms of TxFM's ablation (its Table 5, a, b, e, f); K and T are plain fields.
"""

from jaxcell.registry import did_you_mean
from jaxcell.systems.adapting import ADAPTING
from jaxcell.systems.blocks import bert, linear_cost, llama, modern_bert
from jaxcell.systems.txfm import reconstruction


def tiny(c):
    """Shrink to what trains on a laptop in seconds (the tests run these)."""
    c.model.vocabulary = 300
    c.model.width = 32
    c.model.encoder.layers = 2
    c.model.encoder.heads = 2
    _shallow(c)
    c.data.sample_genes.number = c.data.sequence.number = 32
    c.train.batch_size = 16
    c.train.log_every = 5
    c.train.validate_every = 20
    c.optimizer.learning_rate = 3e-3
    c.epochs = 0
    c.steps = 40
    return c


def _shallow(c):
    """A few blocks learn faster when their branches weigh more from the start."""
    if c.model.encoder.layer_scale:
        c.model.encoder.layer_scale = 0.1
    if c.model.encoder.hidden:
        c.model.encoder.hidden = 2 * c.model.width


def cpu(c):
    """Shrink to what two CPU cores train in ten minutes on thousands of cells.

    One block: CLS reads all visible genes once, which costs K and not K². For a given time that
    beats two blocks, which would see a quarter of the genes (docs/results.md).
    """
    c.model.width = 64
    c.model.encoder.layers = 1
    c.model.encoder.heads = 4
    _shallow(c)
    c.model.encoder.drop_path = 0.0  # the first block has none
    c.data.sample_genes.number = c.data.sequence.number = 512
    c.train.batch_size = 64
    c.train.validate_every = 1000
    c.optimizer.learning_rate = 4e-3
    c.epochs = 0
    c.steps = 6000
    return c


def _loss(kind):
    return _of_expression(lambda c: reconstruction(c, kind))


def _head(field, value):
    def change(c):
        c.model.heads.expression[field] = value
        return c

    return _of_expression(change)


def _of_expression(change):
    """A change of models that decode the whole cell by a head 'expression', and of no others."""

    def checked(c):
        if "expression" not in c.model.heads:
            known = ", ".join(sorted(c.model.heads))
            raise ValueError(
                f"{c.name}: this variant is of models with a head 'expression'; here are {known}"
            )
        return change(c)

    return checked


def no_library(c):
    """Tokens and targets are ln(1 + count), not scaled to a common library size."""
    c.data.normalise.scale = False
    return c


VARIANTS = {
    "tiny": tiny,
    "cpu": cpu,
    "mse": _loss("mse"),
    "smooth_l1": _loss("smooth_l1"),
    "nb": _loss("nb"),
    "zinb": _loss("zinb"),
    "no_library": no_library,
    "linear_decoder": _head("blocks", 0),
    "mlp1_decoder": _head("blocks", 1),
    "mlp8_decoder": _head("blocks", 8),
    "relu": _head("activation", "relu"),
    "clamped_relu": _head("activation", "clamped_relu"),
    "softmax": _head("activation", "softmax"),
    "llama": llama,
    "bert": bert,
    "modern_bert": modern_bert,
    "performer": linear_cost("performer"),
    "nystrom": linear_cost("nystrom"),
    **ADAPTING,
}


def variant(c, names, **known):
    """Apply the part after the colon of ``--config=FILE:names``; '' is the config as published.

    ``known`` adds variants of one config's own. The config's name gets each of them as a suffix.

    Raises
    ------
    ValueError
        For an unknown variant, with the known ones.
    """
    known = {**VARIANTS, **known}
    for name in names.split(",") if names else ():
        if name not in known:
            raise ValueError(
                f"{c.name}:{name} is unknown; known are {', '.join(sorted(known))}"
                f"{did_you_mean(name, known)}"
            )
        c = known[name](c)
        c.name += f"_{name}"
    return c
