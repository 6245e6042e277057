"""Every check of a config that can be made before a compile."""

import math
import re

from ml_collections import ConfigDict

from jaxcell.config_data_checks import among, check_masks, check_transforms, require
from jaxcell.registry import SEEDS

STAGES = ("prepare", "train", "embed", "evaluate")
SCHEDULES = ("one_cycle", "constant", "linear", "cosine", "step")
OPTIMIZERS = ("adamw", "adam")
MOMENTS = ("float32", "bfloat16")
DTYPES = ("auto", "float32", "bfloat16")
# Of embed: see jaxcell/data/sequence.py.
ZEROS = ("exclude", "all", "vocabulary", "interleave", "random")
HVG = ("seurat", "cell_ranger", "seurat_v3", "bioformer")  # of prepare.hvg_flavor
GIVEN = ("counts", "log1p")  # what a store holds: see jaxcell/data/store.py
AMONG = ("hidden", "measured", "masked")  # of train.gene_among: see jaxcell/training/entries.py
PLACES = ("cls", "all", "token")  # of metadata: added to the first token or all, or one of its own
TARGETS = ("number", "several")  # what the names of a label's classes stand for, if not classes
ATTENTION = ("exact", "performer", "nystrom")
KERNELS = ("auto", "xla", "cells", "cudnn", "flash")  # see jaxcell/models/kernels.py
REMAT = ("none", "full", "dots")  # see jaxcell/models/encoder.py
PAIRS = ("elastic", "margin", "contrastive")  # losses over pairs of a batch's cells
LEAVES = ("hierarchical", "independent_sigmoids")  # losses over the leaves of an ontology
# Of the stage evaluate: views of the genes, what is made of a view, what is made of all genes.
BASELINES = (
    r"raw|log|hvg[1-9]\d*|genes|((hvg[1-9]\d*|genes)_)?(pca|harmony|scvi)"
    r"|pca_inductive|(ridge|ae)(_inductive)?|shuffled"
)
PROTOCOLS = ("scformer", "bioformer")  # of the stage evaluate


def _check_finite(tree, where):
    """No field is NaN or infinite, whatever else it may be."""
    for name, value in tree.items():
        if isinstance(value, ConfigDict):
            _check_finite(value, f"{where}{name}.")
        elif isinstance(value, float):
            require(math.isfinite(value), where + name, value, "a finite number")


def check(c):
    """Raise ValueError for whatever in a config can be known to be wrong before any compile."""
    _check_finite(c, "")
    require(c.name and "/" not in c.name, "name", c.name, "a name without '/': files have it")
    require(c.stages, "stages", c.stages, f"some of {', '.join(STAGES)}")
    among("stages", c.stages, STAGES)
    among("dtype", [c.dtype], DTYPES)
    among("embed.zeros", [c.embed.zeros], ZEROS)
    among("model.encoder.attention", [c.model.encoder.attention], ATTENTION)
    among("attention", [c.attention], KERNELS)
    among("model.encoder.remat", [c.model.encoder.remat], REMAT)
    unroll = c.model.encoder.unroll
    require(unroll >= 0, "model.encoder.unroll", unroll, "0 (as the machine likes it) or more")
    others = ", ".join(name for name in ZEROS if name != "random")
    fills = f"one of {others} where embed.genes = 0: random zeros fill up what it says"
    require(c.embed.zeros != "random" or c.embed.genes, "embed.zeros", c.embed.zeros, fills)
    among("prepare.hvg_flavor", [c.prepare.hvg_flavor], HVG)
    among("train.gene_among", [c.train.gene_among], AMONG)
    among("prepare.given", [c.prepare.given], GIVEN)
    among("data.normalise.given", [c.data.normalise.given], GIVEN)
    among("data.total", [c.data.total], ("measured", "source"))
    require(len(c.best) == 2, "best", c.best, "a metric and 'min' or 'max'")
    among("best", [c.best[1]], ("min", "max"))
    for stage, name, value in (
        ("prepare", "prepare.files", c.prepare.files),
        ("embed", "embed.input", c.embed.input),
        ("evaluate", "evaluate.label", c.evaluate.label),
    ):
        require(value or stage not in c.stages, name, value, f"a value for the stage {stage}")
    m, e = c.model, c.model.encoder
    for name, value in {
        "train.batch_size": c.train.batch_size,
        "train.log_every": c.train.log_every,
        "train.accumulate": c.train.accumulate,
        "data.sample_genes.number": c.data.sample_genes.number,
        "data.normalise.library_size": c.data.normalise.library_size,
        "model.vocabulary": m.vocabulary,
        "model.vocab_multiple": m.vocab_multiple,
        "model.width": m.width,
        "model.encoder.layers": e.layers,
        "model.encoder.heads": e.heads,
        "model.encoder.features": e.features,
        "model.encoder.landmarks": e.landmarks,
        "model.encoder.iterations": e.iterations,
        "embed.micro_batch": c.embed.micro_batch,
        "embed.draws": c.embed.draws,
        "evaluate.seeds": c.evaluate.seeds,
    }.items():
        require(value > 0, name, value, "a number above 0")
    for name, value in {
        "seed": c.seed,
        "steps": c.steps,
        "epochs": c.epochs,
        "data.workers": c.data.workers,
        "data.threads": c.data.threads,
        "train.validate_every": c.train.validate_every,
        "train.save_every": c.train.save_every,
        "train.keep_every": c.train.keep_every,
        "embed.genes": c.embed.genes,
        "prepare.hvg": c.prepare.hvg,
        **{f"losses.{k}.weight": one.weight for k, one in c.losses.items()},
        **{f"model.heads.{k}.reverse": h.get("reverse", 0.0) for k, h in m.heads.items()},
    }.items():
        require(value >= 0, name, value, "0 or more")
    require(c.seed < SEEDS, "seed", c.seed, f"a number below {SEEDS}")
    require(c.train.lora.rank >= 0, "train.lora.rank", c.train.lora.rank, "0 or more")
    held = "a regex of what stays as it is, or the kernels train beside their low-rank updates"
    require(not c.train.lora.rank or c.optimizer.frozen, "optimizer.frozen", "", held)
    draws = "1 where every gene is shown (embed.genes = 0): they would all be the same"
    require(c.embed.draws == 1 or c.embed.genes, "embed.draws", c.embed.draws, draws)
    cells, parts = c.train.batch_size, c.train.accumulate
    require(cells % parts == 0, "train.accumulate", parts, f"a divisor of batch_size = {cells}")
    paired = [name for name, one in c.losses.items() if one.kind in PAIRS]
    wanted = f"1: {', '.join(paired)} would see the pairs of a micro-batch alone"
    require(parts == 1 or not paired, "train.accumulate", parts, wanted)
    for name in c.evaluate.baselines:
        known = "raw, log, hvgN, pca, ridge, ae (each also …_inductive), harmony, scvi, shuffled"
        known += ", genes, hvgN_pca, genes_pca and the like (N: a number)"
        require(re.fullmatch(BASELINES, name), "evaluate.baselines", name, known)
    _check_optimizer(c)
    among("evaluate.protocols", c.evaluate.protocols, PROTOCOLS)
    check_transforms(c)
    require(max(c.steps, c.epochs) > 0, "steps", c.steps, "steps or epochs above 0")
    require(m.width % e.heads == 0, "model.width", m.width, f"a multiple of {e.heads} heads")
    require(0 <= e.drop_path < 1, "model.encoder.drop_path", e.drop_path, "within [0, 1)")
    require(m.tokens, "model.tokens", m.tokens, f"some of {sorted(m.fields)}")
    for field in m.tokens:
        require(field in m.fields, "model.tokens", field, f"one of {sorted(m.fields)}")
    _check_library_size(c)
    require(
        any(one.weight for one in c.losses.values()), "losses", "no weight above 0", "one to train"
    )
    _check_after(c)
    _check_dropout(c)
    _check_labels(c)
    heads = {h.label: name for name, h in m.heads.items() if "label" in h}
    for name, one in m.metadata.items():
        head, dropout = heads.get(one.get("label")), one.get("dropout", 0.1)
        wanted = f"above 0, or no such head: {head} would read off what it is shown"
        require(not head or dropout > 0, f"model.metadata.{name}.dropout", dropout, wanted)
        place = one.get("place", "cls")
        among(f"model.metadata.{name}.place", [place], PLACES)
        there = place != "cls" or m.front or m.specials
        require(there, "model.front", (), f"a token in front, for model.metadata.{name}")
    check_masks(c)
    _check_statistics(c)
    _check_causal(c)


def _check_statistics(c):
    """What special tokens and hidden values show, and what a norm over cells needs."""
    m, needed = c.model, len(c.model.specials) + 1
    for name in m.tokens:
        if "codes" in m.fields[name]:
            codes, where = tuple(m.fields[name].codes), f"model.fields.{name}.codes"
            wanted = f"{needed}: one for each of model.specials, and one for a hidden value"
            require(len(codes) == needed, where, codes, wanted)
    wanted = "1: a norm over cells would see a micro-batch's"
    whole = m.norm not in ("batch", "domain") or c.train.accumulate == 1
    require(whole, "train.accumulate", c.train.accumulate, wanted)
    for name, head in m.heads.items():
        read = head.get("field", "gene")
        ok = head.kind != "gene_query" or (m.combine == "sum" and read in m.tokens)
        require(ok, f"model.heads.{name}.field", read, "one of model.tokens, which are added up")


def _check_optimizer(c):
    o = c.optimizer
    among("optimizer.kind", [o.kind], OPTIMIZERS)
    among("optimizer.moments", [o.moments], MOMENTS)
    among("optimizer.schedule", [o.schedule], SCHEDULES)
    require(o.learning_rate > 0, "optimizer.learning_rate", o.learning_rate, "a number above 0")
    for name in ("clip", "warmup_steps", "decay_steps", "weight_decay"):
        require((o[name] or 0) >= 0, f"optimizer.{name}", o[name], "0 or more")
    for name in ("b1", "b2"):
        require(0 <= o[name] < 1, f"optimizer.{name}", o[name], "in [0, 1)")
    require(0 < o.decay <= 1, "optimizer.decay", o.decay, "within (0, 1]")
    cycle = o.schedule == "one_cycle"
    wanted = "within (0, 1)" if cycle else "within [0, 1)"
    require(0 <= o.warmup < 1 and (o.warmup or not cycle), "optimizer.warmup", o.warmup, wanted)
    wanted = "a number for adam, 0 for none: 1 / (lr · steps) is adamw's"
    given = o.kind != "adam" or o.weight_decay is not None
    require(given, "optimizer.weight_decay", o.weight_decay, wanted)


def _check_causal(c):
    """What comes next is predicted by who does not see it, in an order that does not tell it."""
    e, order = c.model.encoder, c.data.sequence.order
    exact = not e.causal or e.attention == "exact"
    require(exact, "model.encoder.attention", e.attention, "'exact' for a causal encoder")
    for name, one in c.losses.items():
        ahead = one.weight and one.get("target", "").startswith("batch.next_")
        wanted = f"True for losses.{name}, whose target the tokens would see otherwise"
        require(e.causal or not ahead, "model.encoder.causal", e.causal, wanted)
        tells = "sequence" in c.data.transforms and order == "value"
        wanted = f"'random' for losses.{name}: an order by value tells the next one"
        leaks = ahead and tells and one.target == "batch.next_values"
        require(not leaks, "data.sequence.order", order, wanted)
        line = c.data.sequence
        wanted = f"'all' or 'exclude' for losses.{name}: zeros behind the others tell themselves"
        leaks = ahead and "sequence" in c.data.transforms and one.target == "batch.next_values"
        known = not leaks or line.zeros in ("all", "vocabulary", "exclude")
        require(known, "data.sequence.zeros", line.zeros, wanted)
    for name in c.model.tokens:
        added = c.model.combine == "sum" or c.model.fields[name].get("kind") != "next"
        wanted = f"'sum', so that special tokens too show what comes next (fields.{name})"
        require(added, "model.combine", c.model.combine, wanted)


def _check_after(c):
    """A loss joins behind a share of the steps, but at no time is there none."""
    for name, one in c.losses.items():
        after = one.get("after", 0.0)
        require(0 <= after < 1, f"losses.{name}.after", after, "a share of the steps, in [0, 1)")
        beta = one.get("beta", 0.0)
        require(0 <= beta <= 1, f"losses.{name}.beta", beta, "a cosine from 0 to 1")
    counted = [one.get("after", 0.0) for one in c.losses.values() if one.weight]
    require(min(counted) == 0, "losses.….after", min(counted), "0 for one of them at least")


def _check_dropout(c):
    m = c.model
    shares = {"model.dropout": m.dropout, "model.encoder.dropout": m.encoder.dropout}
    for block in ("fields", "heads", "metadata"):
        shares |= {f"model.{block}.{n}.dropout": x.get("dropout", 0) for n, x in m[block].items()}
    for name, value in shares.items():
        require(0 <= value < 1, name, value, "within [0, 1)")


def _check_labels(c):
    """A head's classes are what its loss compares them with."""
    heads = {f"heads.{n}": h.label for n, h in c.model.heads.items() if "label" in h}
    for label in c.ontology.labels:
        known = f"a label of a head: {', '.join(heads.values()) or 'there is none'}"
        require(label in heads.values(), "ontology.labels", label, known)
        require(label not in c.targets, "targets", label, "no label of ontology.labels")
    for label, kind in c.targets.items():
        among(f"targets.{label}", [kind], TARGETS)
    for name, one in c.losses.items():
        if one.pred not in heads or one.kind in PAIRS:
            continue
        label, where = heads[one.pred], f"losses.{name}"
        wanted = f"batch.{'targets' if label in c.targets else 'labels'}.{label}"
        require(one.target == wanted, f"{where}.target", one.target, f"{wanted!r}, of {one.pred}")
        if label in c.ontology.labels:
            among(f"{where}.kind", [one.kind], LEAVES)


def _check_library_size(c):
    """What is scaled to the library size, or shares it out, needs data that are scaled to it."""
    size, scaled = c.data.normalise.library_size, c.data.normalise.scale
    for path, one in (
        *((f"model.heads.{name}", head) for name, head in c.model.heads.items()),
        *((f"losses.{name}", loss) for name, loss in c.losses.items()),
    ):
        if "library_size" in one:
            where = f"{path}.library_size"
            require(one.library_size == size, where, one.library_size, f"{size}, as the data")
        for field, kinds in (("activation", ("softmax",)), ("kind", ("nb", "zinb"))):
            if one.get(field) in kinds:
                wanted = f"True for {path}.{field} = {one[field]!r}, whose sum is the library size"
                require(scaled, "data.normalise.scale", scaled, wanted)
