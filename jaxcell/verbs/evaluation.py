"""``jaxcell evaluate`` and ``annotation`` on the command line: embeddings and predicted types."""

import argparse

from jaxcell.verbs import options


def evaluate(p):
    """Arguments of ``jaxcell evaluate``."""
    p.add_argument("data", metavar="FILE", help="h5ad with embeddings in obsm and raw counts")
    p.add_argument(
        "--key",
        dest="keys",
        nargs="+",
        default=(),
        metavar="X_…",
        help="in obsm; X_txfm_{}: one embedding per held-out batch, {} its name",
    )
    p.add_argument(
        "--embeddings",
        nargs="+",
        default=(),
        type=options.named,
        metavar="NAME=FILE",
        help="made elsewhere: csv or tsv with the cells' names first, npz, h5ad",
    )
    p.add_argument("--label", required=True, metavar="OBS", help="obs column with the truth")
    p.add_argument("--batch", metavar="OBS", help="obs column whose values are held out whole")
    p.add_argument("--test-batches", nargs="+", default=(), metavar="VALUE")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--counts", default="X", help="where the raw counts are: X, layers/NAME or raw")
    p.add_argument(
        "--baselines",
        nargs="+",
        default=(),
        metavar="NAME",
        help="of raw, log, hvg1024 (any number), pca_inductive, pca, ridge_inductive, ridge, "
        "ae_inductive, ae, shuffled: all by default; and harmony, scvi, hvg1200_pca, "
        "hvg1200_harmony, hvg1200_scvi, genes, genes_pca, genes_harmony, genes_scvi",
    )
    p.add_argument(
        "--genes", metavar="FILE", help="of the baselines genes…: a vocabulary, a store, a list"
    )
    p.add_argument(
        "--protocols",
        nargs="+",
        default=(),
        metavar="PAPER",
        help="scformer, bioformer: also by their own definitions",
    )
    p.add_argument("--train", metavar="FILE", help="h5ad to fit the inductive baselines on")
    p.add_argument("--seed", type=options.seed, default=0)
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="seed … seed + N - 1: ± sd")
    options.non_integer(p)

    def run(asked):
        from jaxcell import evaluate
        from jaxcell.evaluation.tables import format_table

        files, asked["embeddings"] = asked["embeddings"], dict(asked["embeddings"])
        if "" in asked["embeddings"] or len(files) != len(asked["embeddings"]):
            names = [name for name, _ in files]
            raise ValueError(f"--embeddings: found the names {names}, expected NAME=FILE, each own")
        print(format_table(evaluate(asked.pop("data"), asked.pop("keys"), **asked)))

    p.set_defaults(verb=run)


def annotation(p):
    """Arguments of ``jaxcell annotation``."""
    p.add_argument("data", metavar="FILE", help="h5ad that jaxcell embed has annotated")
    p.add_argument(
        "--checkpoint", required=True, help=f"of the model that did: {options.CHECKPOINT}"
    )
    p.add_argument("--truth", required=True, metavar="OBS", help="true labels: ids or names")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--head", default="cell_type", help="the label head; cell_type by default")
    p.add_argument("--cells", default="", metavar="OBS=VALUE", help="look at these cells alone")
    p.add_argument("--ontology", default="", metavar="OBO", help="to compare in, or cellxgene")
    p.add_argument("--level", dest="levels", nargs="+", type=_level, metavar="NAME=TERM,TERM|DEPTH")
    p.add_argument("--group", metavar="TERM", help="whose cells' probabilities are drawn")
    p.add_argument(
        "--leave-out", nargs="+", default=(), metavar="VALUE", help="true labels not to be scored"
    )

    def run(asked):
        from jaxcell import annotation
        from jaxcell.evaluation.annotation_page import format_annotation

        asked["levels"] = dict(asked["levels"]) if asked["levels"] else None
        out = asked["out"]
        print(format_annotation(annotation(asked.pop("data"), asked.pop("checkpoint"), **asked)))
        print(f"report: {out}/annotation.md")

    p.set_defaults(verb=run)


def _level(text):
    name, _, terms = text.partition("=")
    if not name or not terms:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=TERM,TERM or NAME=DEPTH")
    return name, int(terms) if terms.isdecimal() else terms.split(",")
