"""The whole field tree of a config, each field with its comment, and every check before a compile.

The defaults are TxFM-B as its paper trains it; a file in configs/ changes what differs.
"""

import importlib.util
import json
import re
from pathlib import Path

from ml_collections import ConfigDict, config_dict

from jaxcell.objectives import masked_values as masked_values  # for configs, which import this
from jaxcell.objectives import paper as paper  # module and nothing else
from jaxcell.objectives import pilot as pilot
from jaxcell.objectives import reconstruction
from jaxcell.objectives import sequences as sequences
from jaxcell.objectives import small as small
from jaxcell.objectives import whole_cell as whole_cell
from jaxcell.variants import cpu as cpu
from jaxcell.variants import variant as variant

STAGES = ("prepare", "train", "embed", "evaluate")
SCHEDULES = ("one_cycle", "constant", "linear")
DTYPES = ("auto", "float32", "bfloat16")
TOKENISERS = ("sample_genes", "sequence")  # of data.transforms: what a cell shows
BASELINES = r"raw|log|hvg[1-9]\d*|(pca|ridge|ae)(_inductive)?|shuffled"  # of the stage evaluate


def defaults():
    """A config with every field; what a system or a run changes, it changes on this."""
    c = ConfigDict()
    c.name = "txfm_b"  # names the run's folder and the embedding: obsm['X_<name>']
    c.seed = 0  # of initial parameters, order of cells, visible genes, stochastic depth
    c.stages = ("train",)  # of prepare, train, embed, evaluate; each is a block of this config
    c.dtype = "auto"  # of matrix products: bfloat16 on TPU and Ampere or newer, else float32
    c.epochs = 200  # as many cells as so many passes over the (capped) training cells
    c.steps = 0  # optimizer steps; 0: from epochs, otherwise it wins
    c.best = ("val/loss", "min")  # model/ keeps the best step by it; or ("val/avg_bio", "max")

    c.data = ConfigDict()
    c.data.store = config_dict.placeholder(str)  # folder that `jaxcell prepare` wrote
    c.data.total = "measured"  # a cell's divisor: sum over its measured genes, or 'source': all
    c.data.transforms = ("normalise", "sample_genes")  # in this order; each has a block here
    c.data.normalise = ConfigDict({"library_size": 100_000.0})  # counts are scaled to this sum
    c.data.normalise.scale = True  # False: they are not; tokens and targets are ln(1 + count)
    c.data.normalise.pseudo_total = 0.0  # added to each cell's sum
    c.data.sample_genes = ConfigDict({"number": 2048})  # K visible genes, zeros included
    c.data.sample_genes.temperature = 0.0  # T: drawn ∝ (training cells with the gene)^T; 0: evenly
    c.data.sequence = ConfigDict({"number": 2048})  # K genes, the expressed ones first
    c.data.sequence.zeros = "exclude"  # or all, interleave, random: see jaxcell/data/sequence.py
    c.data.sequence.ratio = 0.9  # of expressed genes, while zeros are interleaved
    c.data.sequence.expressed_only = 0.0  # share of cells that show no zeros all the same
    c.data.sequence.temperature = 0.0  # zeros are drawn ∝ (training cells with the gene)^T
    c.data.sequence.order = "random"  # or value: the highest are shown first
    c.data.sequence.dropout = 0.0  # share of the expressed genes that is left out
    c.data.sequence.chunk = 0  # so many consecutive ones are left out
    c.data.sequence.total = "cell"  # or shown: values are normalised by the sum of what is shown
    c.data.thin = ConfigDict({"method": "binomial", "probability": 0.5})  # or poisson
    c.data.thin.least_total = 1000.0  # cells with fewer counts stay as they are
    c.data.thin.rate = 0.33  # of poisson
    c.data.flag_genes = ConfigDict({"flag": "perturbed"})  # read as flags.perturbed
    c.data.flag_genes.label = ""  # of the store, whose classes name genes: KLF1+ctrl, A+B
    c.data.flag_genes.separator = "+"  # of the genes of a class
    c.data.flag_genes.control = "ctrl"  # what names no gene
    c.data.draw_masks = ConfigDict({"ratio": 0.15, "hidden": 0.95, "replaced": 0.0})
    c.data.draw_masks.fields = ("values",)  # or genes too: which gene a token is
    c.data.draw_masks.together = False  # a token is masked in all of them or in none
    c.data.draw_masks.blocked = False  # nobody attends to a hidden token but itself
    c.data.draw_masks.adaptive = False  # mask more often what is predicted badly
    c.data.mixture = ()  # ('bulk*=0.2', '*=0.8'): shares of datasets by name; (): every cell alike
    # Of cap, weights, round_robin, stratify, in this order; each has a block here. by: columns,
    # 'dataset' and labels of the store, whose classes make the groups; unknown: cells without a
    # label in one of them are a group ('keep') or never seen ('drop'). (): each cell once an epoch.
    c.data.sampling = ()
    c.data.cap = ConfigDict({"by": ("dataset",), "unknown": "keep"})
    c.data.cap.cells = 0  # at most so many of each group in an epoch; or
    c.data.cap.total = 0  # so many of all groups, as equal as their cells allow
    c.data.cap.redraw = False  # True: other cells of the group in every epoch
    c.data.weights = ConfigDict({"by": ("dataset",), "unknown": "keep"})
    c.data.weights.power = 0.0  # a cell's weight: (cells of its group)^power; -1: equal shares; or
    c.data.weights.shares = ()  # ('T cell*=0.3', '*=0.7'): of the classes of the column in by
    c.data.round_robin = ConfigDict({"by": ("dataset",), "unknown": "keep"})  # groups take turns
    c.data.stratify = ConfigDict({"by": ("dataset",), "unknown": "keep"})  # even in every batch
    c.data.workers = 0  # Grain worker processes; 0: threads of this process
    c.data.threads = 2  # reading ahead, in each process

    c.model = ConfigDict()
    c.model.vocabulary = 44_349  # genes, without specials; the store overrides it and says so
    c.model.vocab_multiple = 128  # gene tables are padded to this, so that they can be sharded
    c.model.specials = ("<cls>",)  # special tokens that have vectors of their own
    c.model.front = ()  # those that stand in front of each cell's genes; (): all
    c.model.width = 768  # D
    c.model.fields = ConfigDict(
        {
            "gene": {"kind": "lookup", "input": "ids"},
            "value": {"kind": "scalar", "input": "values"},
        }
    )
    c.model.tokens = ("gene", "value")  # the fields of a token, in the order of concatenation
    c.model.combine = "concat"  # and project to the width; or sum
    c.model.metadata = ConfigDict()  # {name: {label, classes, place: cls or token, dropout}}
    c.model.norm = ""  # of the combined tokens; or layer
    c.model.dropout = 0.0  # of the combined tokens
    c.model.encoder = ConfigDict(
        {
            "layers": 12,
            "heads": 12,
            "mlp_ratio": 4.0,
            "hidden": 0,  # width of the MLP; 0: mlp_ratio times the width
            "activation": "gelu",  # or relu; or swiglu, geglu: with a gate
            "norm": "layer",  # or rms
            "norm_eps": 1e-6,
            "norm_first": True,  # False: behind each residual, as in BERT
            "first_norm": True,  # False: none before the first attention
            "final_norm": True,  # behind the last block
            "bias": True,  # of linear layers and layer norms
            "layer_scale": 1e-4,  # initial; the paper names LayerScale without a value; 0: none
            "drop_path": 0.1,  # at the last layer, rising linearly from 0
            "dropout": 0.0,  # of attention weights and of both branches
            "attention": "exact",  # or performer, nystrom: a cost linear in the tokens
            "features": 256,  # of performer
            "landmarks": 64,  # of nystrom
            "iterations": 6,  # of nystrom's inverse
            "kernels": "xavier",  # how kernels are drawn; or torch, bert
            "unroll": 1,  # layers compiled side by side: all of them is faster on a CPU
            "remat": False,  # recompute layers in the backward pass: less memory, slower
        }
    )
    c.model.pool = "cls"  # or mean, pooler, a front token's name; several: joined
    c.model.pooler = False  # a linear layer and tanh on CLS, for heads that read 'pooled'
    c.model.heads = ConfigDict({"expression": {"kind": "vocabulary_mlp", "blocks": 4}})
    c.model.heads.expression.activation = "rectified_tanh"
    c.model.heads.expression.library_size = c.data.normalise.get_oneway_ref("library_size")

    # A loss of weight 0 is shown beside the others: here the two ends of the scale.
    c.losses = ConfigDict()
    c.normalise_weights = False  # divide the loss by the weights of what it adds up
    c.labels = ()  # those of the label heads that are trained, as the store names them
    c.targets = ConfigDict()  # {label: 'number' or 'several'}: what its classes' names stand for
    c.ontology = ConfigDict({"file": "", "labels": ()})  # OBO file or cellxgene, and its labels
    c.ontology.terms = ()  # further terms to tell apart beside those of the store's cells
    reconstruction(c, "poisson_log1p")

    c.train = ConfigDict()
    c.train.batch_size = 1536  # cells of one optimizer step, over all devices
    c.train.accumulate = 1  # micro-batches that a step's cells are computed in, one by one
    c.train.init_from = ""  # checkpoint whose parameters a new run starts from, matched by gene
    c.train.bias_at_means = True  # the decoder starts at the training means (not in the paper)
    c.train.log_every = 50  # steps between lines of metrics.jsonl
    c.train.tensorboard = False  # event files beside metrics.jsonl; needs the extra tensorboard
    c.train.validate_every = 0  # steps between validations; 0: once an epoch
    c.train.save_every = 0  # steps between saves of the newest state; 0: with each validation
    c.train.gene_errors = "heads.expression"  # prediction measured per gene at the end; '': none
    c.train.gene_zero = ""  # the logit of its being zero, where a head predicts that by itself
    c.train.gene_among = "hidden"  # genes that count: hidden ones; or measured; or masked tokens
    c.train.keep_every = 0  # steps whose checkpoints are kept for good; 0: only best and last

    c.optimizer = ConfigDict()
    c.optimizer.schedule = "one_cycle"  # of cosines; or constant or linear behind the warm-up
    c.optimizer.learning_rate = 1e-3  # at the top
    c.optimizer.warmup = 0.1  # share of the steps that it rises
    c.optimizer.warmup_steps = 0  # or so many of them, if above 0; not of one_cycle
    c.optimizer.clip = 0.0  # largest norm of the gradients; 0: they are not clipped
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.999
    c.optimizer.eps = 1e-6
    c.optimizer.weight_decay = config_dict.placeholder(float)  # none given: 1 / (lr · steps)
    c.optimizer.decayed = r"kernel$|embedding$|rows$"  # paths that decay: no bias, norm or scale
    c.optimizer.frozen = ""  # paths (regex) that do not train at all; "": every parameter trains

    c.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})  # -1: all remaining devices
    # Parameter path (regex, first match) → mesh axis of each dimension. A parameter without a rule
    # is an error: a new part must say how it is laid out.
    c.sharding = (
        (r"fields/\w+/embedding$", ("tensor", "fsdp")),
        (r"fields/(combine|\w+/(dense|out))/kernel$", (None, "fsdp")),
        (r"fields/(specials|norm/\w+|combine/bias|\w+/((dense|out)/bias|rows|basis|in_\w+))$", ()),
        (r"attention/qkv/kernel$", (None, "fsdp", None, "tensor", None)),
        (r"attention/qkv/bias$", (None, None, "tensor", None)),
        (r"attention/out/kernel$", (None, "tensor", None, "fsdp")),
        (r"attention/features$", ()),
        (r"encoder/\w+/mlp/(in|gate)/kernel$", (None, "fsdp", "tensor")),
        (r"encoder/\w+/mlp/(in|gate)/bias$", (None, "tensor")),
        (r"encoder/\w+/mlp/out/kernel$", (None, "tensor", "fsdp")),
        (r"encoder/.*(norm\d?/(scale|bias)|scale\d/scale|out/bias)$", ()),
        (r"pool/dense/kernel$", ("fsdp", "tensor")),
        (r"pool/dense/bias$", ()),
        (r"heads/\w+/transform/", ()),
        (r"heads/\w+/(in|out)/(kernel|bias)$", ()),
        (r"heads/\w+/parts(_bias)?$", ()),
        (r"heads/\w+/rows$", ("tensor", "fsdp")),
        (r"heads/\w+/(bias|values)$", ("tensor",)),
        (r"heads/\w+/blocks_\d+/in/kernel$", ("fsdp", "tensor")),
        (r"heads/\w+/blocks_\d+/in/bias$", ("tensor",)),
        (r"heads/\w+/blocks_\d+/out/kernel$", ("tensor", "fsdp")),
        (r"heads/\w+/blocks_\d+/out/bias$", ()),
    )

    c.embed = ConfigDict()
    c.embed.input = ""  # h5ad, or scanpy:pbmc68k_reduced
    c.embed.genes = 0  # genes shown for each cell, drawn as in training; 0: all that it measured
    c.embed.zeros = "exclude"  # of a sequence: which genes without a count are shown
    c.embed.draws = 1  # of so many genes; their vectors are averaged
    c.embed.micro_batch = 16  # cells of one compiled shape; part of the model, not of the call
    c.prepare = ConfigDict({"files": (), "labels": (), "hold_out": ()})
    c.prepare.hold_out_fraction = 0.0
    c.prepare.min_genes = 0  # a cell with fewer genes is dropped
    c.prepare.min_cells = 0  # a gene in fewer cells is dropped
    c.prepare.allow_non_integer = False
    c.prepare.measured_by = ""  # obs column: a gene no cell of a value has is not measured there
    c.evaluate = ConfigDict({"label": "", "batch": ""})
    c.evaluate.baselines = ()  # names of jaxcell.evaluate's baselines=; (): all
    c.evaluate.seeds = 1  # whatever draws is repeated so often; above 1 the tables show ± sd
    return c


def check(c):
    """Raise ValueError for whatever in a config can be known to be wrong before any compile."""
    _among("stages", c.stages, STAGES)
    _among("dtype", [c.dtype], DTYPES)
    _among("optimizer.schedule", [c.optimizer.schedule], SCHEDULES)
    _among("data.total", [c.data.total], ("measured", "source"))
    _require(len(c.best) == 2, "best", c.best, "a metric and 'min' or 'max'")
    _among("best", [c.best[1]], ("min", "max"))
    for stage, name, value in (
        ("prepare", "prepare.files", c.prepare.files),
        ("embed", "embed.input", c.embed.input),
        ("evaluate", "evaluate.label", c.evaluate.label),
    ):
        _require(value or stage not in c.stages, name, value, f"a value for the stage {stage}")
    m, e = c.model, c.model.encoder
    for name, value in {
        "train.batch_size": c.train.batch_size,
        "train.log_every": c.train.log_every,
        "train.accumulate": c.train.accumulate,
        "data.sample_genes.number": c.data.sample_genes.number,
        "data.normalise.library_size": c.data.normalise.library_size,
        "optimizer.learning_rate": c.optimizer.learning_rate,
        "model.vocabulary": m.vocabulary,
        "model.vocab_multiple": m.vocab_multiple,
        "model.width": m.width,
        "model.encoder.layers": e.layers,
        "model.encoder.heads": e.heads,
        "embed.micro_batch": c.embed.micro_batch,
        "embed.draws": c.embed.draws,
        "evaluate.seeds": c.evaluate.seeds,
    }.items():
        _require(value > 0, name, value, "a number above 0")
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
        **{f"losses.{k}.weight": one.weight for k, one in c.losses.items()},
    }.items():
        _require(value >= 0, name, value, "0 or more")
    draws = "1 where every gene is shown (embed.genes = 0): they would all be the same"
    _require(c.embed.draws == 1 or c.embed.genes, "embed.draws", c.embed.draws, draws)
    cells, parts = c.train.batch_size, c.train.accumulate
    _require(cells % parts == 0, "train.accumulate", parts, f"a divisor of batch_size = {cells}")
    for name in c.evaluate.baselines:
        known = f"names that match {BASELINES}"
        _require(re.fullmatch(BASELINES, name), "evaluate.baselines", name, known)
    for name in ("b1", "b2"):
        _require(0 <= c.optimizer[name] < 1, f"optimizer.{name}", c.optimizer[name], "in [0, 1)")
    _check_transforms(c)
    _require(max(c.steps, c.epochs) > 0, "steps", c.steps, "steps or epochs above 0")
    _require(m.width % e.heads == 0, "model.width", m.width, f"a multiple of {e.heads} heads")
    _require(0 <= e.drop_path < 1, "model.encoder.drop_path", e.drop_path, "within [0, 1)")
    _require(0 < c.optimizer.warmup < 1, "optimizer.warmup", c.optimizer.warmup, "within (0, 1)")
    _require(m.tokens, "model.tokens", m.tokens, f"some of {sorted(m.fields)}")
    for field in m.tokens:
        _require(field in m.fields, "model.tokens", field, f"one of {sorted(m.fields)}")
    _check_library_size(c)
    _require(
        any(one.weight for one in c.losses.values()), "losses", "no weight above 0", "one to train"
    )


def settled(c):
    """A copy of a config with the label heads that ``labels`` names, and their losses, alone.

    'cell_type=CL_id' takes the store's label CL_id for the head cell_type. Settling twice changes
    nothing more.

    Raises
    ------
    ValueError
        A label for which there is no head.
    """
    c = c.copy_and_resolve_references()
    heads = {name: head for name, head in c.model.heads.items() if "label" in head}
    columns = dict(_pair(text) for text in c.labels)
    known = f"some of {', '.join(sorted(heads)) or 'none: no head has a label'}, or HEAD=LABEL"
    for name in columns:
        _require(name in heads, "labels", name, known)
    terms = [columns[name] for name in columns if heads[name].label in c.ontology.labels]
    with c.unlocked():
        for name, head in heads.items():
            losses = [k for k, one in c.losses.items() if one.pred == f"heads.{name}"]
            for loss in losses:
                _relabel(c.losses[loss], head.label, columns.get(name, head.label))
            head.label = columns.get(name, head.label)
            if name not in columns:
                del c.model.heads[name]
                for loss in losses:
                    del c.losses[loss]
    c.ontology.labels = tuple(terms)
    return c


def _pair(text):
    """'head=label' or 'head' → (head, label)."""
    name, _, label = str(text).partition("=")
    return name, label or name


def _relabel(loss, old, new):
    """Put another label into the paths of a loss."""
    for field, value in loss.items():
        if isinstance(value, str) and value.split(".")[-1] == old and field != "pred":
            loss[field] = ".".join([*value.split(".")[:-1], new])


def tokeniser(data):
    """The block of ``config.data`` whose ``number`` of genes a cell shows."""
    return data[next(name for name in data.transforms if name in TOKENISERS)]


def _check_transforms(c):
    names, order = tuple(c.data.transforms), ("thin", "normalise", "sample_genes", "sequence")
    order = (*order, "flag_genes", "draw_masks")
    wanted = (
        "normalise and one of sample_genes and sequence; thin before them; flag_genes and "
        "draw_masks behind them"
    )
    places = [order.index(name) if name in order else -1 for name in names]
    ok = places == sorted(set(places)) and -1 not in places and "normalise" in names
    ok = ok and sum(name in names for name in TOKENISERS) == 1
    _require(ok, "data.transforms", names, wanted)
    front = tuple(c.model.front)
    first = front == tuple(c.model.specials)[: len(front)]
    needs = "the first of model.specials, or (), where sample_genes makes the tokens"
    _require("sequence" in names or first, "model.front", front, needs)
    needs = "sequence, which puts the flagged genes first"
    _require("sequence" in names or "flag_genes" not in names, "data.transforms", names, needs)
    specials = tuple(c.model.specials)
    needs = "<mask> among them, which stands where draw_masks hides"
    _require("<mask>" in specials or "draw_masks" not in names, "model.specials", specials, needs)
    made = {f"flags.{c.data.flag_genes.flag}"} if "flag_genes" in names else set()
    for name in c.model.tokens:
        read = c.model.fields[name].get("input", "") if name in c.model.fields else ""
        needs = f"flags that data.transforms make: {', '.join(made) or 'none without flag_genes'}"
        ok = not read.startswith("flags.") or read in made
        _require(ok, f"model.fields.{name}.input", read, needs)


def _check_library_size(c):
    """What is scaled to the library size, or shares it out, needs data that are scaled to it."""
    size, scaled = c.data.normalise.library_size, c.data.normalise.scale
    for path, one in (
        *((f"model.heads.{name}", head) for name, head in c.model.heads.items()),
        *((f"losses.{name}", loss) for name, loss in c.losses.items()),
    ):
        if "library_size" in one:
            where = f"{path}.library_size"
            _require(one.library_size == size, where, one.library_size, f"{size}, as the data")
        for field, kinds in (("activation", ("softmax",)), ("kind", ("nb", "zinb"))):
            if one.get(field) in kinds:
                wanted = f"True for {path}.{field} = {one[field]!r}, whose sum is the library size"
                _require(scaled, "data.normalise.scale", scaled, wanted)


def _among(name, values, known):
    for value in values:
        _require(value in known, name, value, f"one of {', '.join(known)}")


def _require(ok, name, found, expected):
    if not ok:
        raise ValueError(f"config.{name}: found {found!r}, expected {expected}")


def load(path):
    """The config of ``FILE.py[:variant]``.

    Raises
    ------
    ValueError
        When there is no such file, or it knows no such variant.
    """
    file, _, name = str(path).partition(":")
    if not Path(file).is_file():
        raise ValueError(f"{file}: no such config; expected a Python file, FILE.py[:variant]")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(name)


def to_json(c):
    """The config as JSON text, references resolved."""
    return json.dumps(c.copy_and_resolve_references().to_dict(), indent=1, sort_keys=True)


# Blocks whose keys are names that a config chooses: nothing is added to them.
NAMED = ("model.fields", "model.heads", "model.metadata", "losses", "targets")


def from_json(text):
    """The config that ``to_json`` wrote: JSON's lists become tuples again.

    A field that is younger than the text has its default, so that old models stay readable.
    """

    def restore(value):
        if isinstance(value, dict):
            return {k: restore(v) for k, v in value.items()}
        return tuple(map(restore, value)) if isinstance(value, list) else value

    def fill(c, known, prefix=""):
        for name, default in known.items():
            if name not in c:
                c[name] = default
            elif isinstance(default, ConfigDict) and prefix + name not in NAMED:
                fill(c[name], default, f"{prefix}{name}.")

    c = ConfigDict(restore(json.loads(text)))
    fill(c, defaults().copy_and_resolve_references())
    # A field that was None must accept a value from the command line again.
    for block, field, kind in (("data", "store", str), ("optimizer", "weight_decay", float)):
        if c[block][field] is None:
            c[block][field] = config_dict.placeholder(kind)
    return c


# What may change between a run and its continuation: where things lie, how fast they are read, and
# what other stages do.
NOT_TRAINING = (
    *("data.store", "data.workers", "data.threads", "mesh", "train.log_every", "stages"),
    *("train.tensorboard", "train.gene_errors", "train.gene_zero", "train.gene_among"),
    *("prepare", "embed.input", "embed.genes", "embed.draws", "evaluate"),
)


# But for these where the best step is chosen by embedding held-out cells.
AVG_BIO = ("evaluate.label", "embed.genes")


def training_fields(c):
    """{'model.width': 768, …}: every field that a training run depends on."""
    judged = AVG_BIO if c.best[0] == "val/avg_bio" else ()
    return {k: v for k, v in flat(c).items() if k in judged or not _below(k, NOT_TRAINING)}


def flat(c):
    """{'data.store': …}: every field by its dotted path."""

    def walk(tree, prefix):
        if not isinstance(tree, dict):
            return {prefix[:-1]: tree}
        return {
            k: v for name, sub in tree.items() for k, v in walk(sub, f"{prefix}{name}.").items()
        }

    return walk(json.loads(to_json(c)), "")


def _below(path, prefixes):
    return any(path == p or path.startswith(p + ".") for p in prefixes)


def differences(a, b):
    """Lines 'field: a's value there, b's value here' for all of training's fields that differ."""
    a, b = training_fields(a), training_fields(b)
    return [
        f"{k}: {a.get(k, 'absent')!r} there, {b.get(k, 'absent')!r} here"
        for k in sorted(a.keys() | b.keys())
        if a.get(k, "absent") != b.get(k, "absent")
    ]
