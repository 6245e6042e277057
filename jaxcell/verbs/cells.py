"""``jaxcell embed``, ``phenoprint``, ``complete`` and ``explain``: a model and its cells."""

from jaxcell.verbs import options


def embed(p):
    """Arguments of ``jaxcell embed``."""
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument(
        "--checkpoint",
        required=True,
        nargs="+",
        help=f"{options.CHECKPOINT}; or several",
    )
    p.add_argument("--key", help="name in obsm; X_<config> by default")
    p.add_argument(
        "--genes", type=options.genes_shown, metavar="N|all", help="that each cell shows"
    )
    p.add_argument("--draws", type=int, help="average the vectors of so many draws of --genes")
    p.add_argument("--zeros", metavar="WHICH", help="of a sequence: exclude, all, vocabulary, …")
    p.add_argument("--layer", type=int, help="block of the encoder, counting on: of the decoder")
    p.add_argument(
        "--pooling", nargs="+", metavar="POOL", help="cls, mean, last, first, pooler, a token"
    )
    p.add_argument("--decode", default="leaf", metavar="HOW", help="leaf, greedy or a probability")
    p.add_argument("--probabilities", action="store_true", help="of an ontology's leaves, in obsm")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    p.add_argument("--batch-size", type=int, default=1024, help="cells held at a time")
    p.add_argument("--seed", type=options.seed, default=0, help="of the genes drawn for each cell")
    p.add_argument("--min-matched", type=float, default=0.05, metavar="SHARE")
    p.add_argument("--measured-by", default="", metavar="OBS", help="as in prepare")
    options.genes(p)

    def run(asked):
        from jaxcell import embed

        print(embed(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def phenoprint(p):
    """Arguments of ``jaxcell phenoprint``."""
    p.add_argument(
        "data", metavar="IN", help="h5ad with raw counts of perturbed cells and controls"
    )
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help=options.CHECKPOINT)
    p.add_argument("--perturbation", required=True, metavar="OBS")
    p.add_argument("--control", required=True, metavar="VALUE", help="of unperturbed cells")
    p.add_argument(
        "--batch", required=True, nargs="+", metavar="OBS", help="together a cell's batch"
    )
    p.add_argument("--cut", type=float, default=0.3, metavar="P", help="kept below it; 0.3")
    p.add_argument("--null-cells", type=int, default=5000, metavar="N", help="of the null; 5000")
    p.add_argument("--fewest", type=int, default=5, metavar="N", help="cells of a perturbation; 5")
    p.add_argument("--batch-size", type=int, default=1024, help="cells held at a time")
    p.add_argument(
        "--seed", type=options.seed, default=0, help="of the null's cells and of drawn genes"
    )
    options.genes(p)

    def run(asked):
        from jaxcell import phenoprint

        print(phenoprint(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def complete(p):
    """Arguments of ``jaxcell complete``."""
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument(
        "--checkpoint", required=True, help=f"of a decoder-only model: {options.CHECKPOINT}"
    )
    p.add_argument(
        "--genes", metavar="FILE", help="genes to ask for; all that are not measured by default"
    )
    p.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest bin; or drawn")
    p.add_argument("--probabilities", action="store_true", help="also of a count above 0")
    p.add_argument("--batch-size", type=int, default=1024, help="cells held at a time")
    p.add_argument(
        "--seed", type=options.seed, default=0, help="of the order of genes, and of drawn bins"
    )
    options.genes(p)

    def run(asked):
        from jaxcell import complete

        print(complete(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def explain(p):
    """Arguments of ``jaxcell explain``."""
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help=options.CHECKPOINT)
    p.add_argument(
        "--output",
        default="cell_type",
        help="a label; expression or expression.is_zero, of a gene; or cell, the vector itself",
    )
    p.add_argument(
        "--target",
        metavar="NAME",
        help="class, term of the ontology or gene; each cell's predicted class by default",
    )
    p.add_argument("--scale", choices=("log_probability", "probability", "logit"))
    p.add_argument("--group", metavar="OBS", help="also the means over its groups")
    p.add_argument("--figure", dest="figures", metavar="DIR", help="for pictures of the means")
    p.add_argument("--steps", type=int, default=32, metavar="N", help="of the integral")
    p.add_argument("--baseline", choices=("pad", "zero"), help="pad where the model has it")
    p.add_argument("--unit", action="store_true", help="scale each cell's to a norm of 1")
    p.add_argument("--fields", action="store_true", help="also a layer for each field of a token")
    p.add_argument("--key", default="attributions", help="name in layers and varm")
    p.add_argument(
        "--genes", type=options.genes_shown, metavar="N|all", help="that each cell shows"
    )
    p.add_argument("--batch-size", type=int, default=256, help="cells held at a time")
    p.add_argument("--seed", type=options.seed, default=0, help="of the genes drawn for each cell")
    p.add_argument("--min-matched", type=float, default=0.05, metavar="SHARE")
    p.add_argument("--measured-by", default="", metavar="OBS", help="as in prepare")
    options.genes(p)

    def run(asked):
        from jaxcell import attributions

        print(attributions(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)
