"""A folder to upload to the Hugging Face Hub: a model, and a card made from its run."""

import json
import re
from pathlib import Path

import jax

from jaxcell import __version__, config
from jaxcell.models.cell import count_parameters
from jaxcell.training import run_file
from jaxcell.training.checkpoint import load_model, write_model
from jaxcell.writing import whole_folder

TAGS = ("jaxcell", "single-cell", "transcriptomics", "biology")
INFO = ("step", "store", "family", "source", "revision")
TABLES = re.compile(r"^## (Probes|Clustering and batch mixing)\n.*?(?=^## )", re.M | re.S)
# '`FOLDER/FILE`: 700 cells, … (label `x`)' at the report's top; a table of nothing but dashes.
CELLS = re.compile(r"^`(?:[^`]*/)?([^`/]+)`: (.+?)\.?$", re.M)
EMPTY = re.compile(r"\|.*\n\|[:|-]+\n(\|[^|]*(\| – )+\|\n?)+")
PICTURE = re.compile(r"^!\[.*\)\n+", re.M)


def hub_folder(source, out, *, report=None, licence=None):
    """Write a folder that can be uploaded as it is: ``model/``'s files and README.md, the card.

    Paths of this machine are left out of the config, and so the model's hash is another than the
    run's; parameters are the same.

    Parameters
    ----------
    source : workdir, step folder, model folder or 'hf://ORG/NAME[@REVISION]'. Of a workdir the card
        also has the run's steps, machine and report.md
    out : folder to write; must not exist
    report : folder that `evaluate` wrote, for the card's tables; None: the workdir
    licence : of the weights, by its name on the Hub ('mit', 'cc-by-4.0'); None: the card has none

    Returns
    -------
    Path : ``out``

    Raises
    ------
    ValueError
        No model there, no report in ``report``, or ``out`` exists.
    """
    out, workdir = Path(out), Path(source)
    if licence is not None and not re.fullmatch(r"[\w.-]+", licence):
        raise ValueError(f"licence: found {licence!r}, expected a name as the Hub has them: mit")
    if report is not None and not (Path(report) / "report.md").is_file():
        raise ValueError(f"{report}: has no report.md; expected the --out of jaxcell evaluate")
    model = load_model(source)
    text = card(model, workdir, Path(report or workdir), licence)
    _without_paths(model)
    needs = sum(x.nbytes for x in jax.tree.leaves(model.variables))
    with whole_folder(out, needs) as folder:
        write_model(folder, model)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return out


def _without_paths(model):
    """Put names in place of paths, which nobody else has and nobody else should read."""
    c = model.config
    # What another trainer told of itself may name folders, too.
    model.info = {k: v for k, v in model.info.items() if k in INFO or k.startswith("val/")}
    if "source" in model.info:
        model.info["source"] = _name(model.info["source"])
    c.data.store = ""
    c.prepare.files = tuple(Path(f).name for f in c.prepare.files)
    for block, field in (("train", "init_from"), ("embed", "input"), ("ontology", "file")):
        c[block][field] = _name(c[block][field])
    c.evaluate.genes = _name(c.evaluate.genes)
    for field in c.model.fields.values():
        if "file" in field:
            field.file = _name(field.file)


def _name(path):
    return path if path.startswith(("hf:", "scanpy:")) else Path(path).name if path else ""


def card(model, workdir, report, licence=None):
    """The card as markdown, with the Hub's metadata in front.

    Parameters
    ----------
    model : `checkpoint.Model`
    workdir : folder of its run, of which run.json is read if it is there
    report : folder that `evaluate` wrote, if it did
    licence : of the weights
    """
    c, name = model.config, model.config.name
    head = [f"license: {licence}"] if licence else []
    head = ["---", "library_name: jaxcell", *head, "tags:", *(f"- {tag}" for tag in TAGS), "---"]
    parts = [
        "\n".join(head),
        f"# {name}",
        _what(model),
        "## Use\n\n"
        "Raw counts of human genes (symbols or Ensembl ids) in an h5ad file:\n\n```sh\n"
        "pip install 'jaxcell[hub]'\n"
        f"jaxcell embed cells.h5ad embedded.h5ad --checkpoint hf://ORG/{name}\n```\n\n"
        f"The vectors are then in `obsm['X_{name}']`"
        + (", the predictions in `obs`." if _labels(model) else ".")
        + " A folder that was downloaded does as well. In PyTorch, without JAX: "
        f"`jaxcell convert hf://ORG/{name} FOLDER --to torch` writes one that "
        "`jaxcell.conversion.torch_model.load` reads.",
        "## Model\n\n" + _table(_shape(c, model)),
        "## Training\n\n" + _table(_training(model, workdir)) + "\n\n" + _data(model),
        "## Evaluation\n\n" + _evaluation(report, name),
    ]
    return "\n\n".join(parts) + "\n"


def _what(model):
    number = count_parameters(model.config.model)
    made = "converted from PyTorch" if _foreign(model) else "trained"
    return (
        f"A model of single cells' transcriptomes with {number:,} parameters and a vocabulary of "
        f"{len(model.vocabulary):,} genes, {made} with jaxcell (this card: {__version__})."
    )


def _foreign(model):
    """The family that it was converted from; '' where it is our own, on a way through PyTorch."""
    family = model.info.get("family", "")
    return "" if family == "jaxcell" else family


def _labels(model):
    heads = model.config.model.heads.values()
    return {h.label: model.labels.get(h.label, ()) for h in heads if "label" in h}


def _shape(c, model):
    e, normal = c.model.encoder, c.data.normalise
    yield "blocks × width", f"{e.layers} × {c.model.width}, {e.heads} heads"
    yield "genes of a cell in training", f"{config.tokeniser(c.data).number:,}"
    yield "counts", f"scaled to a sum of {normal.library_size:,.0f}" if normal.scale else "raw"
    yield "pipeline", ", ".join(c.data.transforms)
    yield "pool", c.model.pool
    for label, classes in _labels(model).items():
        some = ", ".join(map(str, classes[:12])) + (" …" if len(classes) > 12 else "")
        yield f"predicts {label}", f"{len(classes):,} classes: {some}"


def _training(model, workdir):
    info, c = model.info, model.config
    if family := _foreign(model):
        yield "converted from", f"{_name(info['source'])} ({family})"
        return
    metric, mode = c.best
    chosen = f", the {'lowest' if mode == 'min' else 'highest'} {metric}" if metric in info else ""
    yield "step", f"{info['step']}{chosen}"
    for key in sorted(k for k in info if k.startswith("val/")):
        yield key, f"{float(info[key]):,.4g}"
    yield "cells of a step", f"{c.train.batch_size:,}"
    yield "optimizer", f"{c.optimizer.kind}, {c.optimizer.schedule}, {c.optimizer.learning_rate:g}"
    if run := run_file.read(workdir):
        for one in run["sessions"]:
            versions = one["versions"]
            yield (
                f"from step {one['from_step']}",
                f"{', '.join(one['devices'])}; jax {versions['jax']}, {one['started'][:10]}",
            )


def _data(model):
    """The datasets of the store, if it is still there and still the one that was trained on."""
    folder = Path(model.config.data.store or "")
    try:
        found = json.loads((folder / "store.json").read_text())
        datasets = json.loads((folder / "datasets.json").read_text())
    except (OSError, ValueError):
        found, datasets = {}, ()
    told = f"Store `{model.info['store']}`" if "store" in model.info else "Training data"
    if not datasets or found.get("content_hash") != model.info.get("store"):
        return f"{told}: not described here."
    rows = ["| dataset | cells | held out | genes |", "|:--|--:|--:|--:|"]
    for one in datasets:
        name = _name(str(one["source"])) + (f" {one['value']}" if one.get("value") else "")
        rows.append(f"| {name} | {one['cells']:,} | {one['valid']:,} | {one['measured']:,} |")
    return f"{told}:\n\n" + "\n".join(rows)


def _evaluation(folder, name):
    path = folder / "report.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = [PICTURE.sub("", m[0]).strip() for m in TABLES.finditer(text)]
    if not found:
        return "This model comes without an evaluation: `jaxcell evaluate` makes one."
    if f"X_{name}" not in text:
        raise ValueError(f"{path}: tells nothing of X_{name}; is it another model's report?")
    cells = CELLS.search(text)
    parts = [f"Of {cells[1]} ({cells[2]})."] if cells else []
    for part in found:
        blocks = part.replace("## ", "### ", 1).split("\n\n")
        parts += [block for block in blocks if not EMPTY.fullmatch(block)]
    return "\n\n".join(parts)


def _table(rows):
    lines = [f"| {what} | {text} |" for what, text in rows]
    return "\n".join(["| | |", "|:--|:--|", *lines])
