"""``jaxcell perturb`` on the command line, one function for each of its subcommands."""

import argparse

from jaxcell.evaluation.perturbation.names import add_layout
from jaxcell.verbs import options
from jaxcell.verbs.parser import add_verbs

KINDS = ("simulation", "single", "combo", "list", "cells")


def perturb(p):
    """Verbs of ``jaxcell perturb``."""
    add = add_verbs(p, "verbs", "VERB")
    split(add("split", help="which conditions are trained on, and which are held out"))
    predict(add("predict", help="control cells and genes → predicted expression"))
    evaluate(add("evaluate", help="predictions of held-out conditions beside simple baselines"))


def split(p):
    """Arguments of ``jaxcell perturb split``."""
    p.add_argument("data", metavar="FILE", help="h5ad of perturbed cells and controls")
    p.add_argument("out", metavar="OUT", help="JSON to write; must not exist")
    p.add_argument(
        "--kind",
        default="simulation",
        choices=KINDS,
        help="simulation: GEARS'; single, combo: genes or doubles; list; cells: BioFormer's",
    )
    p.add_argument("--seed", type=options.seed, help="1 of simulation, 42 of cells, else 0")
    p.add_argument("--seen", type=int, default=2, choices=(0, 1, 2), help="combo: genes seen")
    p.add_argument("--held-out", type=float, default=0.2, metavar="SHARE", help="not of simulation")
    p.add_argument("--test", nargs="+", default=(), metavar="CONDITION", help="of kind list")
    p.add_argument(
        "--train-cells",
        metavar="FILE",
        help="h5ad to write: the cells a model may see, obs['part'] train or val; must not exist",
    )
    p.add_argument(
        "--vocabulary",
        metavar="FILE",
        help="to write: genes of the data and all perturbed ones, for jaxcell prepare --vocabulary",
    )
    add_layout(p)

    def run(asked):
        from jaxcell import perturbation_split

        out = asked["out"]
        found = perturbation_split(asked.pop("data"), asked.pop("out"), **asked)
        groups = ", ".join(f"{name} {len(some)}" for name, some in found.groups.items())
        print(
            f"{out}: {len(found.train)} conditions to train on, {len(found.val)} for validation,"
            f" {len(found.test)} to test ({groups})"
        )

    p.set_defaults(verb=run)


def evaluate(p):
    """Arguments of ``jaxcell perturb evaluate``."""
    p.add_argument("data", metavar="FILE", help="h5ad of perturbed cells and controls")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument(
        "--split",
        default="simulation",
        metavar="FILE|KIND",
        help="what jaxcell perturb split wrote, or simulation, single, combo, cells",
    )
    p.add_argument(
        "--predictions",
        nargs="+",
        default=(),
        type=options.named,
        metavar="NAME=FILE",
        help="h5ad with obs['condition'] and predicted log-normalised expression in X",
    )
    p.add_argument(
        "--baselines",
        nargs="+",
        default=(),
        metavar="NAME",
        help="of no_change, mean, additive, linear, indicator, mlp, seen, shuffled; by default "
        "those that have an answer",
    )
    p.add_argument("--seed", type=options.seed, default=0, help="of mlp and shuffled")
    add_layout(p)

    def run(asked):
        from jaxcell import evaluate_perturbations
        from jaxcell.evaluation.perturbation.page import text

        files, asked["predictions"] = asked["predictions"], dict(asked["predictions"])
        if "" in asked["predictions"] or len(files) != len(asked["predictions"]):
            names = [name for name, _ in files]
            raise ValueError(
                f"--predictions: found the names {names}, expected NAME=FILE, each own"
            )
        out = asked["out"]
        print(text(evaluate_perturbations(asked.pop("data"), **asked)))
        print(f"report: {out}/report.md")

    p.set_defaults(verb=run)


def predict(p):
    """Arguments of ``jaxcell perturb predict``."""
    p.add_argument("data", metavar="IN", help="h5ad with control cells")
    p.add_argument("out", metavar="OUT", help="h5ad to write, a row a condition; must not exist")
    p.add_argument(
        "--checkpoint", required=True, help=f"of a model trained on pairs: {options.CHECKPOINT}"
    )
    p.add_argument("--genes", nargs="+", metavar="A|A+B", help="what to perturb, by condition")
    p.add_argument(
        "--split", metavar="FILE", help="instead: what perturb split wrote; all that it tests"
    )
    p.add_argument(
        "--control", type=_control, metavar="OBS=CLASS", help="control cells; all by default"
    )
    p.add_argument("--cells", type=int, default=300, help="control cells drawn for the mean")
    p.add_argument("--batch-size", type=int, default=64, help="cells computed at a time")
    p.add_argument("--seed", type=options.seed, default=0, help="of the drawn cells and genes")
    p.add_argument("--min-matched", type=float, default=0.05, metavar="SHARE")
    options.genes(p)

    def run(asked):
        from jaxcell import perturb

        print(perturb(asked.pop("data"), asked.pop("checkpoint"), asked.pop("out"), **asked))

    p.set_defaults(verb=run)


def _control(text):
    """OBS=CLASS -> (OBS, CLASS)."""
    label, sign, name = text.partition("=")
    if not (label and sign and name):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected OBS=CLASS")
    return label, name
