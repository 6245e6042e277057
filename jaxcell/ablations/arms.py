"""Arms and budgets of an ablation, as data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from jaxcell import config
from jaxcell.evaluation.ablation_table import DEFAULT
from jaxcell.training import setup
from jaxcell.variants import variant


@dataclass(frozen=True)
class Arm:
    """What differs from the default arm: variants by name, and fields of the config.

    label : as the table prints it; name : of its folder, alone in its suite
    data : which of the experiment's data it is trained on; '': its own
    """

    label: str
    name: str
    variants: str = ""
    fields: dict = field(default_factory=dict)
    data: str = ""


@dataclass(frozen=True)
class Budget:
    """How much a suite is given.

    change : config.defaults() -> the default arm's config
    seeds : training runs of each arm, where a call names no number
    cells, genes : of the data at most; 0: all. Genes are the most variable ones
    """

    change: Callable
    seeds: int = 1
    cells: int = 0
    genes: int = 0


def base(budget):
    """The default arm's config at a Budget."""
    c = budget.change(config.defaults())
    c.name = DEFAULT
    return c


def arms_of(blocks, wanted=()):
    """The arms of all blocks, each once, the default first: {name: Arm}.

    wanted : names; the default and these alone

    Raises
    ------
    ValueError
        For a name that is none of the arms'.
    """
    arms = {arm.name: arm for _, block in blocks for arm in block}
    unknown = [name for name in wanted if name not in arms]
    if unknown:
        raise ValueError(f"arms: {', '.join(unknown)} unknown; known: {', '.join(arms)}")
    names = [DEFAULT, *(n for n in arms if n != DEFAULT and (not wanted or n in wanted))]
    return {name: arms[name] for name in names}


def config_of(suite, arm, budget, store, steps=0, seed=0, batch=""):
    """The checked config of a suite's arm on a store.

    steps : of the run; 0: the budget's, or as many as its epochs take
    batch : the store's label that tells batches apart, for arms that read one; '': the config's own
    """
    c = variant(base(budget), arm.variants, **suite.variants)
    c.update_from_flattened_dict(arm.fields)
    c.name, c.seed = arm.name, seed
    if c.batch:
        c.batch = batch or c.batch
    c.data.store = str(store.path)
    c.model.vocabulary = len(store.vocabulary)
    if c.data.sequence.zeros in ("all", "vocabulary"):  # no places beyond the genes there are
        c.data.sequence.number = len(store.vocabulary)
    c.steps = steps or setup.steps_of(c, store)
    if suite.looks:
        c.train.validate_every = math.ceil(c.steps / suite.looks)
    setup.check(config.settled(c))
    return c
