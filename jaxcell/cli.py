"""``jaxcell prepare|train|embed|evaluate …``: the functions of the API on the command line."""

import sys

from jaxcell import __version__, failures, interrupts
from jaxcell.verbs import (
    benchmark,
    cells,
    conversion,
    data,
    doctor,
    evaluation,
    genes,
    inspection,
    networks,
    perturbation,
    plan,
    resume,
    training,
)
from jaxcell.verbs.parser import Parser, add_verbs


def main(argv=None):
    """Parse and run; a mistake of the user's ends in one line, not a traceback."""
    debug, argv = failures.debug(sys.argv[1:] if argv is None else list(argv))
    failures.plain_warnings()
    with failures.in_one_line(debug, _whose), interrupts.ending(debug):
        if argv[:1] == ["benchmark"]:
            verb, asked = benchmark.start, argv[1:]
        else:
            verb, asked = _parsed(argv)
        verb(asked)


def _whose():
    """Which of several processes speaks; only one that joined others has loaded the module."""
    processes = sys.modules.get("jaxcell.processes")
    return f"process {processes.index()}: " if processes and processes.count() > 1 else ""


def _parsed(argv):
    """The verb's function and its arguments."""
    asked, more = parser().parse_known_args(argv)
    asked = vars(asked)
    verb = asked.pop("verb")
    if asked.pop("fields", False):
        asked["overrides"] = more  # --config.x.y=…
    return verb, asked


def parser():
    """The parser of all verbs; those of train and benchmark are their own."""
    parser = Parser(prog="jaxcell", description="The functions of the API, a verb each.")
    parser.add_argument("--version", action="version", version=f"jaxcell {__version__}")
    add = add_verbs(parser, "verbs", "VERB")
    doctor.doctor(
        add("doctor", help="does jaxcell work here; with a file: what it can be used for")
    )
    data.prepare(add("prepare", help="h5ad files with raw counts → a store to train on"))
    inspection.inspect(add("inspect", help="what lies in sources or a store, before it is used"))
    data.verify(add("verify", help="is a store whole: checksums and agreement of its files"))
    training.train(add("train", help="train by a config: its stages, prepare to evaluate"))
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
    add("benchmark", help="a suite of the papers' measurements: one report")
    resume.resume(add("resume", help="go on with what was stopped: DIR knows how it was begun"))
    conversion.convert(add("convert", help="a checkpoint of PyTorch → one of jaxcell"))
    return parser


if __name__ == "__main__":
    main()
