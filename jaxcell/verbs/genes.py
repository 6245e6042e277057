"""``jaxcell genes``, ``gene-errors``, ``relations`` and ``learnability`` on the command line."""

from jaxcell.verbs import options


def gene_errors(p):
    """Arguments of ``jaxcell gene-errors``."""
    p.add_argument("store", metavar="STORE", help="a store with validation cells")
    p.add_argument("out", metavar="OUT", help="tab-separated file to write; must not exist")
    p.add_argument("--checkpoint", required=True, help=options.CHECKPOINT)
    p.add_argument(
        "--genes", type=options.genes_shown, metavar="N|all", help="that each cell shows"
    )
    p.add_argument("--draws", type=int, default=1, help="passes over the cells: more entries")
    p.add_argument("--batch-size", type=int, default=64, help="cells computed at a time")

    def run(asked):
        from jaxcell.training.gene_errors import gene_errors, show

        print(show(gene_errors(asked.pop("checkpoint"), asked.pop("store"), **asked)))

    p.set_defaults(verb=run)


def gene_vectors(p):
    """Arguments of ``jaxcell genes``."""
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help=options.CHECKPOINT)

    def run(asked):
        from jaxcell import genes

        print(genes(**asked))

    p.set_defaults(verb=run)


def relations(p):
    """Arguments of ``jaxcell relations``."""
    p.add_argument("genes", metavar="GENES", help="h5ad of genes, as jaxcell genes writes it")
    p.add_argument("--pairs", nargs="+", required=True, metavar="FILE", help="entity1, entity2")
    p.add_argument("--key", dest="keys", nargs="+", metavar="OBSM", help="all of obsm by default")
    p.add_argument("--cells", metavar="H5AD", help="raw counts, for the PCA of their transpose")
    p.add_argument("--counts", default="X", help="where in the cells: X, layers/NAME or raw")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--share", type=float, default=0.05, help="of all pairs that is predicted")
    p.add_argument("--sides", default="top", choices=("top", "both"), help="both: each with SHARE")
    p.add_argument("--seed", type=options.seed, default=0)
    options.non_integer(p)

    def run(asked):
        from jaxcell import relations
        from jaxcell.evaluation.gene_report import format_recall

        print(format_recall(relations(asked.pop("genes"), asked.pop("pairs"), **asked)))

    p.set_defaults(verb=run)


def learnability(p):
    """Arguments of ``jaxcell learnability``."""
    p.add_argument(
        "tables",
        metavar="TABLE",
        nargs="+",
        type=options.named,
        help="one or two of gene-errors; or NAME=FILE",
    )
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument(
        "--partitions",
        nargs="+",
        default=(),
        type=options.named,
        metavar="KIND=FILE",
        help="of gaf, obo, tfclass, identity, housekeeping, dissociation, lists, gmt, table",
    )
    p.add_argument(
        "--epochs",
        nargs="+",
        default=(),
        metavar="FILE",
        help="tables of the first model, in order",
    )
    p.add_argument("--min-detected", type=int, default=100, help="non-zero entries: reliable")
    p.add_argument("--window", type=float, default=0.1, help="of the local sd, in zero fraction")
    p.add_argument("--cut", type=float, default=2.0, metavar="Z", help="of winners and losers")
    p.add_argument("--margin", type=float, default=0.1, metavar="SHARE", help="beyond the trend")

    def run(asked):
        from jaxcell import learnability
        from jaxcell.evaluation.learnability_page import format_learnability

        files = {}
        for kind, path in asked.pop("partitions"):
            if kind in files and kind != "gmt":
                raise ValueError(
                    f"--partitions: found {kind!r} twice, expected KIND=FILE, each once"
                )
            files[kind] = [*files.get(kind, ()), path] if kind == "gmt" else path
        tables = asked.pop("tables")
        if any(name for name, _ in tables):
            names = [name for name, _ in tables]
            if not all(names) or len(set(names)) < len(names):
                raise ValueError(
                    f"TABLE: found the names {names}, expected NAME=FILE, each its own"
                )
            tables = dict(tables)
        else:
            tables = [path for _, path in tables]
        print(format_learnability(learnability(tables, partitions=files, **asked)))

    p.set_defaults(verb=run)
