"""``jaxcell inspect`` on the command line."""

from jaxcell.verbs import options


def inspect(p):
    """Arguments of ``jaxcell inspect``."""
    p.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="inputs of prepare, folders or patterns of them, or stores",
    )
    p.add_argument(
        "--labels", nargs="+", metavar="OBS", help="obs columns; by default of 2 to 200 classes"
    )
    p.add_argument("--batch", metavar="OBS", help="whose values may have panels of their own")
    p.add_argument("--counts", help="X, layers/NAME or raw; by default the first with counts")
    p.add_argument(
        "--cells", type=int, default=100_000, metavar="N", help="of a source that are read; 0: all"
    )
    p.add_argument(
        "--identifiers", default="auto", choices=("auto", "symbols", "ensembl"), help="gene names"
    )
    p.add_argument("--gene-map", metavar="TSV", help="ensembl, symbol, aliases; or JAXCELL_GENES")
    options.kinds(p)
    p.add_argument("--out", metavar="DIR", help="for inspect.json, report.html and pictures")

    def run(asked):
        from jaxcell import inspect
        from jaxcell.evaluation.source_page import format_inspection

        out = asked["out"]
        print(format_inspection(inspect(asked.pop("sources"), **asked)))
        if out:
            print(f"report: {out}/report.html")

    p.set_defaults(verb=run)
