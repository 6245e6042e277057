"""``jaxcell prepare|train|embed|evaluate …``: the functions of the API on the command line."""

import argparse
import sys
import warnings

from jaxcell import interrupts
from jaxcell.verbs import (
    benchmark,
    cells,
    conversion,
    data,
    evaluation,
    genes,
    inspection,
    networks,
    perturbation,
    plan,
    resume,
    training,
)


def main(argv=None):
    """Parse and run; a mistake of the user's ends in one line, not a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train"]:
        from jaxcell.main import start

        return start(["jaxcell train", *argv[1:]])
    plain_warnings()
    if argv[:1] == ["benchmark"]:
        verb, asked = benchmark.start, argv[1:]
    else:
        verb, asked = _parsed(argv)
    try:
        with interrupts.ending():
            verb(asked)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


def _parsed(argv):
    """The verb's function and its arguments."""
    parser = _parser()
    asked, more = parser.parse_known_args(argv)
    asked = vars(asked)
    verb = asked.pop("verb")
    if asked.pop("fields", False):
        asked["overrides"] = more  # --config.x.y=…
    elif more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    return verb, asked


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
    add = parser.add_subparsers(title="verbs", required=True, metavar="VERB").add_parser
    data.prepare(add("prepare", help="h5ad files with raw counts → a store to train on"))
    inspection.inspect(add("inspect", help="what lies in sources or a store, before it is used"))
    data.verify(add("verify", help="is a store whole: checksums and agreement of its files"))
    add(
        "train",
        help="train by a config; takes what python -m jaxcell.main takes",
        add_help=False,
    )
    plan.arguments(add("plan", help="does a config fit: compiled, not run"))
    cells.embed(add("embed", help="raw counts → embeddings in obsm"))
    cells.phenoprint(
        add("phenoprint", help="the cells of perturbations that a model tells from chance")
    )
    cells.complete(add("complete", help="bins of genes that cells did not measure"))
    cells.explain(add("explain", help="the genes behind a model's output, cell by cell"))
    evaluation.evaluate(add("evaluate", help="embeddings beside baselines: tables and figures"))
    evaluation.annotation(add("annotation", help="predicted cell types against true ones"))
    genes.gene_errors(add("gene-errors", help="error of each gene on held-out cells"))
    training.report(add("report", help="curves and differences of training runs"))
    genes.gene_vectors(add("genes", help="a checkpoint → gene vectors, an h5ad of genes"))
    genes.relations(add("relations", help="known relations that gene vectors recall"))
    genes.learnability(add("learnability", help="genes that are predicted beyond sparsity"))
    perturbation.perturb(add("perturb", help="perturbed cells: split, predict, evaluate"))
    networks.network(add("network", help="gene networks: attention by condition, gene programs"))
    training.masked(add("masked", help="predicted bins of masked genes against true ones"))
    training.ablate(add("ablate", help="train and compare the arms of an ablation"))
    add("benchmark", help="a suite of the papers' measurements: one report", add_help=False)
    resume.resume(add("resume", help="go on with what was stopped: DIR knows how it was begun"))
    conversion.convert(add("convert", help="a checkpoint of PyTorch → one of jaxcell"))
    return parser


if __name__ == "__main__":
    main()
