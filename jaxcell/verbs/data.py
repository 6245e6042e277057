"""``jaxcell prepare`` and ``verify`` on the command line."""

import sys

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
        help='of the pipeline, as one word: "--runner=FlinkRunner …"; by default this machine\'s '
        "processors",
    )
    options.genes(p)

    def run(asked):
        from jaxcell import prepare

        options = asked.pop("beam_options")
        asked["beam"] = (options or "") if asked["beam"] or options else None
        prepare(asked.pop("out"), asked.pop("files"), **asked)

    p.set_defaults(verb=run)


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
