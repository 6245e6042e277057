"""Arguments that several verbs take alike."""

import argparse

from jaxcell.registry import SEEDS

CHECKPOINT = "workdir, step folder, model folder or hf://ORG/NAME[@REVISION]"


def genes(p):
    """How counts and genes of a file are read."""
    p.add_argument("--counts", default="X", help="where the raw counts are: X, layers/NAME or raw")
    p.add_argument(
        "--identifiers", default="auto", choices=("auto", "symbols", "ensembl"), help="gene names"
    )
    p.add_argument("--gene-map", metavar="TSV", help="ensembl, symbol, aliases; or JAXCELL_GENES")
    p.add_argument(
        "--duplicates",
        default="error",
        choices=("error", "sum", "first"),
        help="what to do with genes that a file names twice",
    )
    non_integer(p)


def fields(p):
    """Fields of the config, which the parser leaves to ``jaxcell.overrides``."""
    p.add_argument_group(
        "fields of the config", "--config.train.batch_size=512 and the like change any of them"
    )
    p.set_defaults(fields=True)


def kinds(p):
    """What of some kinds of inputs is read."""
    p.add_argument(
        "--features",
        nargs="+",
        default=(),
        metavar="TYPE",
        help="features to keep beside genes, by their type: 'Antibody Capture'",
    )
    p.add_argument(
        "--soma-filter", metavar="WHICH", help="cells of SOMA experiments: \"tissue == 'lung'\""
    )
    p.add_argument("--soma-measurement", metavar="NAME", help="of SOMA experiments; RNA by default")
    p.add_argument(
        "--genes-in",
        choices=("rows", "columns"),
        help="where bulk tables have their genes, if their names do not say it",
    )


def non_integer(p):
    """Whether counts may be estimated ones."""
    p.add_argument(
        "--allow-non-integer", action="store_true", help="take counts that are not integers"
    )


def seed(text):
    """A number that something random begins with."""
    if not text.isdecimal() or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a whole number, 0 or more, below {SEEDS}"
        )
    return int(text)


def genes_shown(text):
    """A number of genes above 0, or 'all'."""
    if text == "all":
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number above 0, or all")
    return int(text)


def named(text):
    """NAME=FILE -> (NAME, FILE); FILE -> ('', FILE), also where a folder of it has a =."""
    name, sign, path = text.partition("=")
    return (name, path) if sign and "/" not in name else ("", text)
