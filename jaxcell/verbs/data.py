"""``jaxcell prepare`` and ``verify`` on the command line."""

import sys

from jaxcell.verbs import options

INPUTS = (
    "h5ad, zarr, loom, 10x (folder of mtx, or h5), SOMA (folder, or soma:URI), "
    "census:VERSION/ORGANISM, a bulk table, scanpy:pbmc68k_reduced; or a folder or 'PATTERN' of "
    "these"
)


def prepare(p):
    """Arguments of ``jaxcell prepare``."""
    out = p.add_argument("out", metavar="OUT", help="the store, a folder that must not exist")
    files = p.add_argument("files", metavar="FILE", nargs="+", default=(), help=INPUTS)
    # Not by nargs ? and *: these would take no FILE that stands behind an option.
    out.required = files.required = False
    _manifest(p)
    p.add_argument("--labels", nargs="+", default=(), metavar="OBS", help="obs columns to keep")
    p.add_argument(
        "--hold-out", nargs="+", default=(), metavar="OBS=VALUE", help="cells for validation"
    )
    p.add_argument("--hold-out-fraction", type=float, default=0.0, metavar="SHARE")
    p.add_argument("--hold-out-file", nargs="+", default=(), metavar="FILE")
    _filters(p)
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
    options.kinds(p)
    p.add_argument(
        "--orthologs",
        metavar="TSV",
        help="their gene, our gene: takes files of another species by one-to-one orthologs",
    )
    p.add_argument("--vocabulary", metavar="FILE", help="vocabulary.json, a store, or a gene list")
    p.add_argument("--hvg", type=int, metavar="N", help="keep the N most variable genes")
    p.add_argument(
        "--hvg-flavor",
        choices=("seurat", "cell_ranger", "seurat_v3", "bioformer"),
        help="how they are chosen; seurat by default",
    )
    p.add_argument("--hvg-batch", metavar="OBS", help="batches of --hvg; each dataset by default")
    p.add_argument("--seed", type=options.seed, default=0, help="of the fraction held out")
    p.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="record files of each split; by default one for each 65 536 cells",
    )
    p.add_argument(
        "--beam", action="store_true", help="do the blocks of cells as an Apache Beam pipeline"
    )
    p.add_argument(
        "--beam-options",
        metavar="OPTIONS",
        help="of the pipeline, as one word: --beam-options='--runner=FlinkRunner …'; by "
        "default this machine's processors",
    )
    options.genes(p)

    def run(asked):
        if asked.pop("list"):
            from jaxcell import manifest

            return print(manifest(asked["manifest"], asked["data"]))
        from jaxcell import prepare

        options = asked.pop("beam_options")
        asked["beam"] = (options or "") if asked["beam"] or options else None
        if asked["out"] is None:
            p.error("the following arguments are required: OUT")
        return prepare(asked.pop("out"), asked.pop("files"), **asked)

    p.set_defaults(verb=run)


def _manifest(p):
    p = p.add_argument_group("a corpus by a manifest, which says all else")
    p.add_argument("--manifest", metavar="NAME|FILE", help="a shipped one, or a YAML file")
    p.add_argument("--data", metavar="FOLDER", help="where the manifest's files are looked up")
    p.add_argument("--only", nargs="+", default=(), metavar="SOURCE", help="of its sources")
    p.add_argument(
        "--allow-different-counts",
        action="store_true",
        help="warn of numbers that differ from what the manifest expects",
    )
    p.add_argument(
        "--list",
        action="store_true",
        help="show what the manifest needs and where it is to be had; without one, those shipped",
    )


def _filters(p):
    p = p.add_argument_group("cells and genes to drop: cells first, then genes of each file")
    p.add_argument("--min-genes", type=int, default=0, help="cells with fewer genes")
    p.add_argument("--max-genes", type=int, help="cells with more genes")
    p.add_argument("--min-total", type=float, default=0, help="cells with fewer counts")
    p.add_argument("--max-total", type=float, help="cells with more counts")
    p.add_argument(
        "--max-mito", type=float, metavar="SHARE", help="cells with more of them mitochondrial"
    )
    p.add_argument(
        "--mito-prefix", default="MT-", metavar="TEXT", help="how these symbols begin; MT-"
    )
    p.add_argument("--min-cells", type=int, default=0, help="genes in fewer cells")
    p.add_argument(
        "--min-frequency", type=float, default=0, metavar="SHARE", help="genes in a smaller share"
    )
    p.add_argument(
        "--min-dispersion", type=float, metavar="RATIO", help="genes of lower variance over mean"
    )


def verify(p):
    """Arguments of ``jaxcell verify``."""
    p.add_argument("store", metavar="STORE", help="a folder that jaxcell prepare made")

    def run(asked):
        from jaxcell import verify

        problems = verify(asked["store"])
        if problems:
            sys.exit("\n".join(f"error: {asked['store']}: {text}" for text in problems))
        print(f"{asked['store']} is whole: every file is as prepare wrote it, and they agree")

    p.set_defaults(verb=run)
