"""What is settled before a run begins: whether its config holds, and holds for its store."""

import functools
import math

from jaxcell import config
from jaxcell.data import pairs
from jaxcell.data.flags import FlagGenes
from jaxcell.data.samplers import build_samplers
from jaxcell.data.sampling import cells_per_epoch, describe, order
from jaxcell.data.transforms import build_transforms
from jaxcell.losses.expression import INTEGER_COUNTS
from jaxcell.training import tensorboard
from jaxcell.training.labels import adopt_labels
from jaxcell.training.step import check_parts


def check(c, platform=None):
    """Raise for whatever in a config is wrong or not installed, before anything is read.

    platform : 'tpu', 'gpu' or 'cpu', for a plan of another machine; this process's by default
    """
    config.check(c)
    build_transforms(c.data, c.model)
    build_samplers(c.data)
    check_parts(c, platform)
    drop, blocks = c.model.encoder.drop_path, c.model.encoder.layers
    if drop and blocks == 1:
        raise ValueError(
            f"config.model.encoder.drop_path: found {drop}, expected 0 with one block: it rises "
            "from 0 at the first"
        )
    if c.train.tensorboard:
        tensorboard.check()


def steps_of(c, store):
    """Optimizer steps of a run: ``c.steps``, or as many as ``c.epochs`` over its cells take."""
    if c.steps:
        return c.steps
    return math.ceil(c.epochs * cells_per_epoch(store, c.data) / c.train.batch_size)


def steps_per_epoch(c, store):
    """Steps that an epoch of the training cells takes, the last one perhaps in the next epoch."""
    return math.ceil(cells_per_epoch(store, c.data) / c.train.batch_size)


def adopt(c, store, say):
    """Check a config against its store; the store's genes and classes win, and that is said.

    Returns
    -------
    {label: Ontology} of the labels whose classes are an ontology's terms
    """
    if not store.sizes["train"]:
        raise ValueError(f"{store.path}: holds no training cells")
    if config.adapts(c) and not store.sizes["valid"]:
        raise ValueError(
            f"config.data.draw_masks.adaptive: found True, expected False for {store.path}: it "
            "holds no validation cells, by whose errors genes would be masked"
        )
    if c.model.vocabulary != len(store.vocabulary):
        say(
            f"config.model.vocabulary: {c.model.vocabulary} genes nominally, "
            f"{len(store.vocabulary)} in {store.path}: the store's are used"
        )
        c.model.vocabulary = len(store.vocabulary)
    ontologies = adopt_labels(c, store, say)
    _check_values(c, store)
    if c.data.pair.label:
        say(pairs.check(store, c.data.pair))
    for one in build_transforms(c.data, c.model, labels=store.labels, genes=store.vocabulary):
        if isinstance(one, FlagGenes):
            paired = functools.partial(pairs.Pairs, store, c.data.pair)
            one.check(store, paired if c.data.pair.label else None)
    if "sample_genes" in c.data.transforms:
        _say_unmasked(c, store, say)
    _fit_tokens(c, store, say)
    # What mixture and sampling name against the store's datasets and labels.
    order(store, c.data, c.seed, c.train.batch_size)
    if said := describe(store, c.data):
        say(said)
    for name, one in c.losses.items():
        for facts in store.datasets:
            if one.kind in INTEGER_COUNTS and facts["non_integer"]:
                raise ValueError(
                    f"config.losses.{name}.kind: {one.kind!r} is a likelihood of integer counts; "
                    f"{facts['source']} has other values ({facts['non_integer']}); take mse or "
                    "poisson_log1p, or other files"
                )
    return ontologies


def _check_values(c, store):
    """What is normalised already is not normalised again, and counts are."""
    wanted = c.data.normalise.given
    for facts in store.datasets:
        if (found := facts.get("values", "counts")) != wanted:
            raise ValueError(
                f"config.data.normalise.given: found {wanted!r}, expected {found!r}, which "
                f"{facts['source']} holds in {store.path}"
                + (" (and scale = False; variant ':log1p')" if found == "log1p" else "")
            )


def _fit_tokens(c, store, say):
    """No cell has more tokens than the widest panel has genes: what is beyond would be padding."""
    block, widest = config.tokeniser(c.data), int(store.measured.sum(axis=1).max())
    if block.number > widest:
        name = next(n for n in c.data.transforms if c.data.get(n) is block)
        say(
            f"config.data.{name}.number: {block.number} genes a cell nominally; no dataset of "
            f"{store.path} measured more than {widest}, which are its tokens"
        )
        block.number = widest


def _say_unmasked(c, store, say):
    """Where every measured gene is visible, a masked autoencoder learns to copy."""
    shown, panels = c.data.sample_genes.number, store.measured.sum(axis=1)
    for facts, gene_set in zip(store.datasets, store.gene_set, strict=True):
        if panels[gene_set] <= shown:
            say(
                f"config.data.sample_genes.number: {shown} shows all {panels[gene_set]} genes that "
                f"{facts['source']} measured, so none is hidden from the model in its cells; "
                "half of them or fewer would be a task"
            )
