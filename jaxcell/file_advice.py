"""What `prepare`, training and `embed` would do with a file, in words and as commands to paste."""

from pathlib import Path

from jaxcell import file_commands
from jaxcell.data.genes import GeneNames, identify, read_gene_map
from jaxcell.data.inspection.identifiers import kind
from jaxcell.data.inspection.values import COUNTS
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source
from jaxcell.data.store import Store
from jaxcell.evaluation.source_page import format_inspection
from jaxcell.inspection import inspect, is_store

MENDED = ("--allow-non-integer", "--duplicates")  # what the commands below say by themselves
ESTIMATED = "estimated or corrected counts"
FEWEST = 5  # cells of a label's smallest class, for a split that leaves some on either side
CELLS = 20_000  # of a source that are read


def advise(source, checkpoint, problems, progress=True):
    """Look into a source or store and say what to do with it.

    Parameters
    ----------
    source : as `inspect` takes one
    checkpoint : path or None
        A model whose genes are matched.
    problems : list of str
        What is wrong is added to it.
    progress : bool

    Returns
    -------
    dict or None
        'inspection' (as `inspect` returns it), 'table' (the same as text), 'said' (lines) and
        'commands' (to paste next, of an AnnData calls in Python); None where the source cannot be
        read.
    """
    before = len(problems)
    try:
        found = inspect([source], cells=CELLS, progress=progress)
    except (ValueError, OSError, ImportError) as error:
        problems.append(str(error))
        return None
    looks = found["sources"]
    refused = [text for look in looks for text in look["refused"]] + found["refused"]
    wrong = [text for text in refused if not any(flag in text for flag in MENDED)]
    wrong += [one["error"] for one in found["unreadable"]]
    problems += wrong
    said = [line for look in looks for line in _said(look, len(looks) > 1)]
    if checkpoint and looks:
        one = source if len(looks) == 1 else looks[0]["file"]
        said.append(_matched(one, looks[0], checkpoint, problems))
    return {
        "inspection": found,
        "table": format_inspection(found),
        "said": said,
        "commands": [] if problems[before:] else _next(source, looks, checkpoint),
    }


def _next(source, looks, checkpoint):
    """What to paste: commands, or of an AnnData calls."""
    look = looks[0]
    how = {"labels": usable_labels(look), "estimated": _estimated(look), "checkpoint": checkpoint}
    if not isinstance(source, str | Path):
        return file_commands.calls(look, **how)
    several, stored = len(looks) > 1, is_store(source)
    return file_commands.commands(str(source), look, **how, several=several, stored=stored)


def _estimated(look):
    return look["values"] == ESTIMATED


def _said(look, several):
    """Lines about one source: counts, genes, labels and batches."""
    name = f"{look['name']}: " if several else ""
    return [
        f"{name}{line}" for line in (_counts(look), _genes(look), _labels(look), _batches(look))
    ]


def _counts(look):
    others = [f"{p} ({words})" for p, words in look["places"].items() if p != look["counts"]]
    beside = f"; beside them {', '.join(others)}" if others else ""
    if look["values"] == COUNTS:
        return f"raw counts are in {look['counts']}{beside}"
    if _estimated(look):
        return f"{look['counts']} holds {ESTIMATED}: taken with --allow-non-integer{beside}"
    return f"no raw counts; {look['counts']} is {look['values']}{beside}"


def _genes(look):
    found = look["identifiers"]
    named = look["genes"] - found["unnamed"]
    text = f"{named:,} of {look['genes']:,} genes are named, by {kind(found)}; {found['species']}"
    if found["duplicates"]:
        text += (
            f"; {found['duplicates']:,} names stand there more than once "
            f"({', '.join(found['duplicate_examples'][:3])}): --duplicates sum adds them up"
        )
    return text


def _labels(look):
    usable = usable_labels(look)
    if not usable:
        return "no label: no obs column has 2 to 200 classes with several cells each"
    shown = [f"{c} ({look['labels'][c]['classes']} classes)" for c in usable]
    return f"labels that could be learned or compared with: {', '.join(shown)}"


def usable_labels(look):
    """The obs columns of two classes or more, of FEWEST cells each or nearly all of them."""
    batch = look["panels"] and look["panels"]["by"]
    return [
        column
        for column, one in look["labels"].items()
        if column != batch and one["classes"] > 1 and one["smallest"] >= FEWEST
    ]


def _batches(look):
    if not look["panels"]:
        return "no batches: no obs column is called batch, donor, sample, … with 2 to 100 values"
    by, batches = look["panels"]["by"], look["panels"]["batches"]
    text = f"batches are in {by} ({len(batches)} of them)"
    if look["panels"]["advised"]:
        text += f"; some lack genes that others have: --measured-by {by}"
    return text


def _matched(source, look, checkpoint, problems):
    """How many of a model's genes a source or a store has."""
    from jaxcell.training.checkpoint import load_model

    try:
        model = load_model(checkpoint)
        found = match(
            _names(source, look), model.vocabulary, read_gene_map(None), "first", look["name"]
        )
    except (ValueError, OSError, ImportError) as error:
        problems.append(str(error))
        return f"{checkpoint}: not matched"
    share = found.n_matched / found.n_genes
    text = f"{checkpoint}: {found.n_matched:,} of its {found.n_genes:,} genes are there"
    if share < 0.05:
        problems.append(
            f"{text}, fewer than embed takes (5 %): is it another species or another kind of "
            "names? A gene map (--gene-map TSV) translates"
        )
    return f"{text} ({share:.0%})"


def _names(source, look):
    if is_store(source):
        genes = Store.open(source).vocabulary
        return GeneNames(genes.symbols, genes.ensembl)
    opened = open_source(source, counts=look["counts"])
    return identify(opened.var, "auto", opened.name)
