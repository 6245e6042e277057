"""``jaxcell prepare`` on the command line."""

from jaxcell.verbs import options


def prepare(p):
    """Arguments of ``jaxcell prepare``."""
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
    p.add_argument(
        "--values",
        default="counts",
        choices=("counts", "log1p"),
        help="log1p: the files hold values that are log-normalised already (GEARS)",
    )
    p.add_argument(
        "--measured-by",
        metavar="OBS",
        help="for merged files: a gene without any count in a value of OBS is not measured there",
    )
    p.add_argument("--vocabulary", metavar="FILE", help="vocabulary.json, a store, or a gene list")
    p.add_argument("--hvg", type=int, metavar="N", help="keep the N most variable genes")
    p.add_argument(
        "--hvg-flavor",
        choices=("seurat", "cell_ranger", "seurat_v3", "bioformer"),
        help="how they are chosen; seurat by default",
    )
    p.add_argument("--hvg-batch", metavar="OBS", help="batches of --hvg; each dataset by default")
    p.add_argument("--seed", type=int, default=0, help="of the fraction held out")
    options.genes(p)

    def run(asked):
        from jaxcell import prepare

        prepare(asked.pop("out"), asked.pop("files"), **asked)

    p.set_defaults(verb=run)
