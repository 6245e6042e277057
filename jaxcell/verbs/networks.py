"""``jaxcell network`` on the command line."""

from jaxcell.verbs import options


def network(p):
    """Arguments of ``jaxcell network``."""
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("--checkpoint", nargs="+", metavar="MODEL", help=options.CHECKPOINT)
    p.add_argument("--condition", required=True, metavar="OBS", help="whose values are compared")
    p.add_argument("--reference", metavar="VALUE", help="that others are compared with")
    p.add_argument("--tf", nargs="+", default=(), metavar="NAME", help="factors to look at")
    p.add_argument("--route", default="both", choices=("both", "attention", "vectors"))
    p.add_argument("--known", metavar="TSV", help="known targets: tf, target; packed or not")
    p.add_argument("--levels", metavar="ABC", help="of the column confidence of --known")
    p.add_argument("--sets", metavar="GMT", help="gene sets; packed or not")
    p.add_argument("--genes", metavar="FILE", help="a gene a line; the most variable by default")
    p.add_argument("--number", type=int, default=1200, help="of most variable genes")
    p.add_argument("--cells", type=int, metavar="N", help="of each condition at most, drawn")
    p.add_argument("--label", metavar="OBS", help="cell types, whose markers are on the map")
    p.add_argument("--layer", type=int, metavar="K", help="block whose attention it is; the last")
    p.add_argument("--measure", default="ranks", choices=("ranks", "weights"))
    p.add_argument(
        "--vectors",
        default="codebook",
        metavar="codebook|decoder|FILE[:KEY]",
        help="gene vectors: of the checkpoint, or an h5ad of genes",
    )
    p.add_argument("--resolution", type=float, default=40.0, help="of Leiden")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--batch-size", type=int, default=64, help="cells read at a time")
    p.add_argument("--seed", type=options.seed, default=0)
    options.genes(p)

    def run(asked):
        from jaxcell import network
        from jaxcell.evaluation.networks.report import format_network

        out = asked["out"]
        print(format_network(network(asked.pop("data"), asked.pop("checkpoint"), **asked)))
        print(f"report: {out}/report.md")

    p.set_defaults(verb=run)
