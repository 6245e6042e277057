"""Configs: made from the defaults, settled, checked, read, written, compared.

A file in configs/ imports this module and nothing else: what changes a config is here by name.
"""

import importlib.util
import json
import traceback
from pathlib import Path

from ml_collections import ConfigDict, config_dict

from jaxcell.config_checks import BASELINES as BASELINES
from jaxcell.config_checks import PROTOCOLS as PROTOCOLS
from jaxcell.config_checks import check as check
from jaxcell.config_data_checks import adapts as adapts
from jaxcell.config_data_checks import bin_tables as bin_tables
from jaxcell.config_data_checks import require
from jaxcell.config_data_checks import shown_labels as shown_labels
from jaxcell.config_data_checks import tokeniser as tokeniser
from jaxcell.config_defaults import defaults as defaults
from jaxcell.files import near
from jaxcell.shipped import config_file as config_file
from jaxcell.systems.batches import place_batch
from jaxcell.systems.bioformer import BIOFORMER as BIOFORMER
from jaxcell.systems.bioformer import bioformer as bioformer
from jaxcell.systems.bioformers import BIOFORMERS as BIOFORMERS
from jaxcell.systems.bioformers import BIOFORMERS_DECODER as BIOFORMERS_DECODER
from jaxcell.systems.bioformers import bioformers as bioformers
from jaxcell.systems.bioformers import causal as causal
from jaxcell.systems.bmfm_rna import BMFM_RNA as BMFM_RNA
from jaxcell.systems.bmfm_rna import WHOLE_CELL as WHOLE_CELL
from jaxcell.systems.bmfm_rna import masked_values as masked_values
from jaxcell.systems.bmfm_rna import sequences as sequences
from jaxcell.systems.bmfm_rna import whole_cell as whole_cell
from jaxcell.systems.scformer import SCFORMER as SCFORMER
from jaxcell.systems.scformer import scformer as scformer
from jaxcell.variants import cpu as cpu
from jaxcell.variants import variant as variant


def settled(c):
    """A copy of a config with what ``batch`` and ``labels`` say put where it belongs.

    ``batch`` is the label of all that tells batches apart; '' leaves that out. Of the label heads
    with their losses, and of losses that read a label themselves, those stay that ``labels``
    names: 'cell_type=CL_id' takes the store's label CL_id for the head (or loss) cell_type,
    'cell_type' the label that it names. Settling twice changes nothing more.

    Raises
    ------
    ValueError
        A label for which there is no head or loss.
    """
    c = place_batch(c.copy_and_resolve_references())
    heads = {name: head for name, head in c.model.heads.items() if "label" in head}
    alone = _reading_labels(c)
    columns = dict(_pair(text) for text in c.labels)
    require(len(columns) == len(c.labels), "labels", tuple(c.labels), "each head once")
    there = ", ".join(sorted([*heads, *alone]))
    known = f"some of {there}, or NAME=LABEL" if there else "(): this model has no label to learn"
    for name in columns:
        require(name in heads or name in alone, "labels", name, known)
    for label in c.ontology.labels:
        there = [head.label for head in heads.values()]
        require(label in there, "ontology.labels", label, f"labels of heads: {', '.join(there)}")
    terms = [n for n in columns if n in heads and heads[n].label in c.ontology.labels]
    with c.unlocked():
        for name in alone:
            if name not in columns:
                del c.losses[name]
            elif columns[name]:
                c.losses[name].target = f"batch.labels.{columns[name]}"
        for name, head in heads.items():
            losses = [k for k, one in c.losses.items() if one.pred == f"heads.{name}"]
            if name not in columns:
                del c.model.heads[name]
                for loss in losses:
                    del c.losses[loss]
                continue
            old, head.label = head.label, columns[name] or head.label
            for loss in losses:
                _relabel(c.losses[loss], old, head.label)
            if old in c.targets:
                c.targets[head.label] = c.targets[old]
    c.ontology.labels = tuple(dict.fromkeys(heads[name].label for name in terms))
    return c


def _reading_labels(c):
    """Names of the losses that compare something else than a label's head with a label."""
    heads = [f"heads.{name}" for name, head in c.model.heads.items() if "label" in head]
    losses = c.losses.items()
    reads = {n: one for n, one in losses if one.get("target", "").startswith("batch.labels.")}
    return [name for name, one in reads.items() if one.pred not in heads]


def left_out(c):
    """Names of the label heads that ``labels`` does not name, and ``settled`` takes away."""
    c = place_batch(c.copy_and_resolve_references())
    named, heads = dict(_pair(text) for text in c.labels), c.model.heads.items()
    known = [*(name for name, head in heads if "label" in head), *_reading_labels(c)]
    return [name for name in known if name not in named]


def _pair(text):
    """'head=label' or 'head' → (head, label or '')."""
    name, _, label = str(text).partition("=")
    return name, label


def _relabel(loss, old, new):
    """Put another label into the paths of a loss."""

    def one(path):
        *above, last = str(path).split(".")
        return ".".join([*above, new]) if above and last == old else path

    for field, value in loss.items():
        if field != "pred":
            loss[field] = tuple(map(one, value)) if isinstance(value, tuple) else one(value)


def load(path):
    """The config of ``FILE.py[:variant]``, or of a trained model, ``FOLDER[:variant]``.

    'configs/NAME.py' is the package's own where the working folder has none.

    Raises
    ------
    ValueError
        When there is no such file, it fails, or it knows no such variant.
    """
    file, _, name = str(path).partition(":")
    if (own := _of_model(file)) is not None:
        return variant(own, name)
    file = config_file(file)
    if not file.is_file() or file.suffix != ".py":
        raise ValueError(
            f"{file}: no such config; expected a Python file, FILE.py[:variant], or the folder of "
            f"a trained model{near(file) if not file.exists() else ''}"
        )
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        c = module.get_config(name)
    except Exception as error:
        raised = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, ValueError) and raised != str(file):
            raise  # says itself what is wrong: of a variant, say
        raise ValueError(f"{file}{_line(error, file)}: {type(error).__name__}: {error}") from error
    if not isinstance(c, ConfigDict):
        found = type(c).__name__
        raise ValueError(f"{file}: get_config returned a {found}, expected the config it changed")
    return c


def _line(error, file):
    """Where in a config's file an error arose, as ', line 7'."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.lineno else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    return f", line {lines[-1]}" if lines else ", expected get_config(name) in it"


def _of_model(folder):
    """The config of a workdir or model folder, to start from it; None of other paths."""
    files = [Path(folder, *below, "config.json") for below in ((), ("model",))]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    try:
        c = from_json(file.read_text(encoding="utf-8"))
    except (ValueError, AttributeError, KeyError) as error:
        raise ValueError(
            f"{file}: not the config of a trained model, or damaged ({error}); take a whole copy "
            "of the folder"
        ) from None
    c.stages, c.data.store = ("train",), config_dict.placeholder(str)
    c.train.init_from = str(folder)
    return c


def to_json(c):
    """The config as JSON text, references resolved."""
    return json.dumps(c.copy_and_resolve_references().to_dict(), indent=1, sort_keys=True)


# Blocks whose keys are names that a config chooses: nothing is added to them.
NAMED = (
    *("model.fields", "model.heads", "model.metadata", "model.conditions"),
    *("losses", "targets"),
)


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
    "sharding",
    *("attention", "model.encoder.remat", "model.encoder.unroll"),
    *("train.tensorboard", "train.gene_errors", "train.gene_zero", "train.gene_among"),
    *("prepare", "embed.input", "embed.genes", "embed.draws", "embed.zeros", "evaluate"),
)


# But for these where the best step is chosen by embedding held-out cells.
AVG_BIO = ("evaluate.label", "embed.genes", "embed.zeros")
# And for these where training masks genes by their errors.
ADAPTIVE = ("train.gene_errors", "train.gene_zero", "train.gene_among")


def training_fields(c):
    """{'model.width': 768, …}: every field that a training run depends on."""
    judged = AVG_BIO if c.best[0] == "val/avg_bio" else ()
    judged += ADAPTIVE if adapts(c) else ()
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
