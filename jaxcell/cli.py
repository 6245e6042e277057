"""``jaxcell prepare|train|embed|evaluate …``: the functions of the API on the command line."""

import argparse
import sys
import warnings


def main(argv=None):
    """Parse and run; a mistake of the user's ends in one line, not a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train"]:
        from jaxcell.main import start

        return start(["jaxcell train", *argv[1:]])
    plain_warnings()
    asked = vars(_parser().parse_args(argv))
    verb = asked.pop("verb")
    try:
        verb(asked)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")


def plain_warnings():
    """Show what jaxcell warns of as one line, without the place in the code."""
    shown = warnings.showwarning

    def show(message, category, *where, **more):
        if category is UserWarning:
            print(f"warning: {message}", file=sys.stderr)
        else:
            shown(message, category, *where, **more)

    warnings.showwarning = show


def _parser():
    parser = argparse.ArgumentParser(prog="jaxcell", description=__doc__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    _prepare(verbs.add_parser("prepare", help="h5ad files with raw counts → a store to train on"))
    verbs.add_parser(
        "train",
        help="train by a config; takes what python -m jaxcell.main takes",
        add_help=False,
    )
    _embed(verbs.add_parser("embed", help="raw counts → embeddings in obsm"))
    _evaluate(verbs.add_parser("evaluate", help="embeddings beside baselines: tables and figures"))
    return parser


def _genes(p):
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
    _non_integer(p)


def _non_integer(p):
    p.add_argument(
        "--allow-non-integer", action="store_true", help="take counts that are not integers"
    )


def _prepare(p):
    p.add_argument("out", metavar="OUT", help="the store, a folder that must not exist")
    p.add_argument("files", metavar="FILE", nargs="+", help="h5ad, or scanpy:pbmc68k_reduced")
    p.add_argument("--labels", nargs="+", default=(), metavar="OBS", help="obs columns to keep")
    p.add_argument(
        "--hold-out", nargs="+", default=(), metavar="OBS=VALUE", help="cells for validation"
    )
    p.add_argument("--hold-out-fraction", type=float, default=0.0, metavar="SHARE")
    p.add_argument("--hold-out-file", nargs="+", default=(), metavar="FILE")
    p.add_argument("--min-genes", type=int, default=0, help="drop cells with fewer genes")
    p.add_argument("--min-cells", type=int, default=0, help="drop genes in fewer cells")
    p.add_argument("--vocabulary", metavar="FILE", help="vocabulary.json, a store, or a gene list")
    p.add_argument("--seed", type=int, default=0, help="of the fraction held out")
    _genes(p)

    def run(asked):
        from jaxcell import prepare

        prepare(asked.pop("out"), asked.pop("files"), **asked)

    p.set_defaults(verb=run)


def _embed(p):
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help="workdir, step folder or model folder")
    p.add_argument("--key", help="name in obsm; X_<config> by default")
    p.add_argument("--genes", type=int, help="how many genes each cell shows")
    p.add_argument("--batch-size", type=int, default=1024, help="cells held at a time")
    p.add_argument("--seed", type=int, default=0, help="of the genes drawn for each cell")
    p.add_argument("--min-matched", type=float, default=0.05, metavar="SHARE")
    _genes(p)

    def run(asked):
        from jaxcell import embed

        print(embed(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def _evaluate(p):
    p.add_argument("data", metavar="FILE", help="h5ad with embeddings in obsm and raw counts")
    p.add_argument("--key", dest="keys", nargs="+", required=True, metavar="X_…")
    p.add_argument("--label", required=True, metavar="OBS", help="obs column with the truth")
    p.add_argument("--batch", metavar="OBS", help="obs column whose values are held out whole")
    p.add_argument("--test-batches", nargs="+", default=(), metavar="VALUE")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--counts", default="X", help="where the raw counts are: X, layers/NAME or raw")
    p.add_argument("--seed", type=int, default=0)
    _non_integer(p)

    def run(asked):
        from jaxcell import evaluate
        from jaxcell.evaluation.tables import format_table

        print(format_table(evaluate(asked.pop("data"), asked.pop("keys"), **asked)))

    p.set_defaults(verb=run)


if __name__ == "__main__":
    main()
