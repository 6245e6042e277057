"""``jaxcell prepare|train|embed|evaluate …``: the functions of the API on the command line."""

import argparse
import sys
import warnings

from jaxcell import plan_verb


def main(argv=None):
    """Parse and run; a mistake of the user's ends in one line, not a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train"]:
        from jaxcell.main import start

        return start(["jaxcell train", *argv[1:]])
    plain_warnings()
    parser = _parser()
    asked, more = parser.parse_known_args(argv)
    asked = vars(asked)
    verb = asked.pop("verb")
    if asked.pop("fields", False):
        asked["overrides"] = more  # --config.x.y=…
    elif more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
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
    plan_verb.arguments(verbs.add_parser("plan", help="does a config fit: compiled, not run"))
    _embed(verbs.add_parser("embed", help="raw counts → embeddings in obsm"))
    _complete(verbs.add_parser("complete", help="bins of genes that cells did not measure"))
    _explain(verbs.add_parser("explain", help="the genes behind a model's output, cell by cell"))
    _evaluate(verbs.add_parser("evaluate", help="embeddings beside baselines: tables and figures"))
    _annotation(verbs.add_parser("annotation", help="predicted cell types against true ones"))
    _gene_errors(verbs.add_parser("gene-errors", help="error of each gene on held-out cells"))
    _report(verbs.add_parser("report", help="curves and differences of training runs"))
    _gene_vectors(verbs.add_parser("genes", help="a checkpoint → gene vectors, an h5ad of genes"))
    _relations(verbs.add_parser("relations", help="known relations that gene vectors recall"))
    _learnability(verbs.add_parser("learnability", help="genes that are predicted beyond sparsity"))
    _masked(verbs.add_parser("masked", help="predicted bins of masked genes against true ones"))
    _ablate(verbs.add_parser("ablate", help="train and compare the arms of an ablation"))
    _convert(verbs.add_parser("convert", help="a checkpoint of PyTorch → one of jaxcell"))
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
    _genes(p)

    def run(asked):
        from jaxcell import prepare

        prepare(asked.pop("out"), asked.pop("files"), **asked)

    p.set_defaults(verb=run)


def _embed(p):
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument(
        "--checkpoint",
        required=True,
        nargs="+",
        help="workdir, step or model folder; or several",
    )
    p.add_argument("--key", help="name in obsm; X_<config> by default")
    p.add_argument("--genes", type=_genes_shown, metavar="N|all", help="that each cell shows")
    p.add_argument("--draws", type=int, help="average the vectors of so many draws of --genes")
    p.add_argument(
        "--zeros", metavar="WHICH", help="exclude, all, interleave or random: of a sequence"
    )
    p.add_argument("--layer", type=int, help="block of the encoder, counting on: of the decoder")
    p.add_argument("--pooling", nargs="+", metavar="POOL", help="cls, mean, last, pooler, a token")
    p.add_argument("--decode", default="leaf", metavar="HOW", help="leaf, greedy or a probability")
    p.add_argument("--probabilities", action="store_true", help="of an ontology's leaves, in obsm")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    p.add_argument("--batch-size", type=int, default=1024, help="cells held at a time")
    p.add_argument("--seed", type=int, default=0, help="of the genes drawn for each cell")
    p.add_argument("--min-matched", type=float, default=0.05, metavar="SHARE")
    p.add_argument("--measured-by", default="", metavar="OBS", help="as in prepare")
    _genes(p)

    def run(asked):
        from jaxcell import embed

        print(embed(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def _genes_shown(text):
    if text == "all":
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number above 0, or all")
    return int(text)


def _complete(p):
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help="of a decoder-only model")
    p.add_argument(
        "--genes", metavar="FILE", help="genes to ask for; all that are not measured by default"
    )
    p.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest bin; or drawn")
    p.add_argument("--probabilities", action="store_true", help="also of a count above 0")
    p.add_argument("--batch-size", type=int, default=1024, help="cells held at a time")
    p.add_argument("--seed", type=int, default=0, help="of the order of genes, and of drawn bins")
    _genes(p)

    def run(asked):
        from jaxcell import complete

        print(complete(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def _explain(p):
    p.add_argument("data", metavar="IN", help="h5ad with raw counts")
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help="workdir, step folder or model folder")
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
    p.add_argument("--genes", type=_genes_shown, metavar="N|all", help="that each cell shows")
    p.add_argument("--batch-size", type=int, default=256, help="cells held at a time")
    p.add_argument("--seed", type=int, default=0, help="of the genes drawn for each cell")
    p.add_argument("--min-matched", type=float, default=0.05, metavar="SHARE")
    p.add_argument("--measured-by", default="", metavar="OBS", help="as in prepare")
    _genes(p)

    def run(asked):
        from jaxcell import attributions

        print(attributions(asked.pop("data"), asked.pop("checkpoint"), **asked))

    p.set_defaults(verb=run)


def _evaluate(p):
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
        type=_named,
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
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="seed … seed + N - 1: ± sd")
    _non_integer(p)

    def run(asked):
        from jaxcell import evaluate
        from jaxcell.evaluation.tables import format_table

        files, asked["embeddings"] = asked["embeddings"], dict(asked["embeddings"])
        if "" in asked["embeddings"] or len(files) != len(asked["embeddings"]):
            names = [name for name, _ in files]
            raise ValueError(f"--embeddings: found the names {names}, expected NAME=FILE, each own")
        print(format_table(evaluate(asked.pop("data"), asked.pop("keys"), **asked)))

    p.set_defaults(verb=run)


def _annotation(p):
    p.add_argument("data", metavar="FILE", help="h5ad that jaxcell embed has annotated")
    p.add_argument("--checkpoint", required=True, help="the model that did")
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


def _gene_errors(p):
    p.add_argument("store", metavar="STORE", help="a store with validation cells")
    p.add_argument("out", metavar="OUT", help="tab-separated file to write; must not exist")
    p.add_argument("--checkpoint", required=True, help="workdir, step folder or model folder")
    p.add_argument("--genes", type=_genes_shown, metavar="N|all", help="that each cell shows")
    p.add_argument("--draws", type=int, default=1, help="passes over the cells: more entries")
    p.add_argument("--batch-size", type=int, default=64, help="cells computed at a time")

    def run(asked):
        from jaxcell.training.gene_errors import gene_errors, show

        print(show(gene_errors(asked.pop("checkpoint"), asked.pop("store"), **asked)))

    p.set_defaults(verb=run)


def _gene_vectors(p):
    p.add_argument("out", metavar="OUT", help="h5ad to write; must not exist")
    p.add_argument("--checkpoint", required=True, help="workdir, step folder or model folder")

    def run(asked):
        from jaxcell import genes

        print(genes(**asked))

    p.set_defaults(verb=run)


def _report(p):
    p.add_argument("runs", metavar="RUN", nargs="+", help="workdir of a training run")
    p.add_argument("--out", required=True, metavar="DIR", help="for report.md and curves.png")

    def run(asked):
        from jaxcell import report

        print(report(asked.pop("runs"), **asked))

    p.set_defaults(verb=run)


def _relations(p):
    p.add_argument("genes", metavar="GENES", help="h5ad of genes, as jaxcell genes writes it")
    p.add_argument("--pairs", nargs="+", required=True, metavar="FILE", help="entity1, entity2")
    p.add_argument("--key", dest="keys", nargs="+", metavar="OBSM", help="all of obsm by default")
    p.add_argument("--cells", metavar="H5AD", help="raw counts, for the PCA of their transpose")
    p.add_argument("--counts", default="X", help="where in the cells: X, layers/NAME or raw")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--share", type=float, default=0.05, help="of all pairs that is predicted")
    p.add_argument("--sides", default="top", choices=("top", "both"), help="both: each with SHARE")
    p.add_argument("--seed", type=int, default=0)
    _non_integer(p)

    def run(asked):
        from jaxcell import relations
        from jaxcell.evaluation.gene_report import format_recall

        print(format_recall(relations(asked.pop("genes"), asked.pop("pairs"), **asked)))

    p.set_defaults(verb=run)


def _learnability(p):
    p.add_argument(
        "tables",
        metavar="TABLE",
        nargs="+",
        type=_named,
        help="one or two of gene-errors; or NAME=FILE",
    )
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument(
        "--partitions",
        nargs="+",
        default=(),
        type=_named,
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


def _named(text):
    """NAME=FILE -> (NAME, FILE); FILE -> ('', FILE), also where a folder of it has a =."""
    name, sign, path = text.partition("=")
    return (name, path) if sign and "/" not in name else ("", text)


def _masked(p):
    p.add_argument("store", metavar="STORE", help="with validation cells")
    p.add_argument("--checkpoint", required=True, help="workdir, step folder or model folder")
    p.add_argument("--loss", default="mgm", metavar="NAME", help="that compares the bins; mgm")
    p.add_argument("--ratio", type=float, metavar="M", help="of masked genes, not the config's")
    p.add_argument("--nonzero", type=float, metavar="P", help="share of them that has a count")
    p.add_argument("--seed", type=int, default=0, help="of the masks")
    p.add_argument("--draws", type=int, default=1, help="of masks for each cell")
    p.add_argument(
        "--regression", dest="k", type=int, default=0, metavar="K", help="on K genes, beside it"
    )

    def run(asked):
        from jaxcell import masked_genes
        from jaxcell.masked_prediction import show

        print(show(masked_genes(asked.pop("store"), asked.pop("checkpoint"), **asked)))

    p.set_defaults(verb=run)


def _ablate(p):
    p.add_argument(
        "--suite",
        dest="suite_name",
        default="txfm",
        help="txfm: its Table 5 a-g; scformer: its Table 3, integration; bioformers: Tables 2-4",
    )
    size = p.add_mutually_exclusive_group()
    size.add_argument("--budget", default="small", choices=("small", "medium", "large"))
    size.add_argument(
        "--full", dest="budget", action="store_const", const="large", help="the paper's size"
    )
    p.add_argument("--out", required=True, metavar="DIR", help="a run there is gone on with")
    p.add_argument("--arms", nargs="+", default=(), metavar="NAME", help="these and the default")
    p.add_argument("--steps", type=int, default=0, help="of each arm; the budget's by default")
    p.add_argument("--seeds", type=int, default=0, help="runs of each arm; the budget's by default")
    p.add_argument("--data", metavar="FOLDER", help="the suite's own data; or JAXCELL_DATA")
    own = p.add_argument_group("data of your own, in place of --data")
    own.add_argument("--train", nargs="+", metavar="FILE", help="h5ad with raw counts")
    own.add_argument(
        "--batch", nargs="+", metavar="OBS", help="txfm, scformer: columns that make a batch"
    )
    own.add_argument("--label", metavar="OBS", help="scformer: types of the cells")
    own.add_argument("--other", nargs="+", metavar="FILE", help="bioformers: another data set")
    txfm = p.add_argument_group("of txfm alone")
    txfm.add_argument("--drop", nargs="+", default=(), metavar="OBS=VALUE", help="not to train on")
    txfm.add_argument("--perturbed", metavar="FILE", help="h5ad with raw counts")
    txfm.add_argument("--perturbation", metavar="OBS")
    txfm.add_argument("--control", metavar="VALUE", help="of --perturbation: unperturbed")
    txfm.add_argument("--per-batch", action="store_true", help="score each batch on its own")
    txfm.add_argument("--pairs", nargs="+", metavar="FILE", help="known relations of genes")

    def run(asked):
        from jaxcell import ablate
        from jaxcell.ablations.runner import experiment_of
        from jaxcell.ablations.suites import suite

        of_run = ("out", "budget", "arms", "steps", "seeds")
        kept = {name: asked.pop(name) for name in (*of_run, "suite_name")}
        results = ablate(experiment_of(kept["suite_name"], **asked), **kept)
        print("\n" + suite(kept["suite_name"]).tables.text(results))

    p.set_defaults(verb=run)


def _convert(p):
    p.add_argument("source", metavar="FOLDER", help="with the weights and what is beside them")
    p.add_argument("out", metavar="OUT", help="folder to write; must not exist")
    p.add_argument("--family", default="scformer", choices=("scformer",), help="who made it")
    p.add_argument(
        "--classes", metavar="FILE", help="names of the classifier's classes, one a line"
    )
    p.add_argument("--batches", metavar="FILE", help="names of the batches, one a line")
    p.add_argument("--clip", type=int, metavar="N", help="highest value, of models of raw counts")

    def run(asked):
        from jaxcell import convert

        print(convert(asked.pop("source"), asked.pop("out"), **asked))

    p.set_defaults(verb=run)


if __name__ == "__main__":
    main()
