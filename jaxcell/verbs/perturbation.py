"""``jaxcell perturb`` on the command line, one function for each of its subcommands."""

import argparse

from jaxcell.verbs import options


def perturb(p):
    """Subcommands of ``jaxcell perturb``."""
    add = p.add_subparsers(title="what", required=True, metavar="WHAT").add_parser
    predict(add("predict", help="control cells and genes → predicted expression"))


def predict(p):
    """Arguments of ``jaxcell perturb predict``."""
    p.add_argument("data", metavar="IN", help="h5ad with control cells")
    p.add_argument("out", metavar="OUT", help="h5ad to write, a row a condition; must not exist")
    p.add_argument(
        "--checkpoint", required=True, help=f"of a model trained on pairs: {options.CHECKPOINT}"
    )
    p.add_argument(
        "--genes", nargs="+", required=True, metavar="A|A+B", help="what to perturb, by condition"
    )
    p.add_argument(
        "--control", type=_control, metavar="OBS=CLASS", help="control cells; all by default"
    )
    p.add_argument("--cells", type=int, default=300, help="control cells drawn for the mean")
    p.add_argument("--batch-size", type=int, default=64, help="cells computed at a time")
    p.add_argument("--seed", type=int, default=0, help="of the drawn cells and genes")
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
