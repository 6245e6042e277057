"""``jaxcell train``, ``report``, ``masked`` and ``ablate``: runs and what they teach."""

from jaxcell.verbs import options


def train(p):
    """Arguments of ``jaxcell train``, which ``python -m jaxcell.main`` takes as well."""
    p.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="FILE.py[:variant], or the folder of a trained model[:variant]",
    )
    p.add_argument(
        "--workdir", metavar="DIR", default="", help="of the run; runs/<config>-<time> by default"
    )
    p.add_argument(
        "--dry_run", "--dry-run", action="store_true", help="say what it would need, and stop"
    )
    options.fields(p)

    def run(asked):
        from jaxcell import main

        main.main(asked)

    p.set_defaults(verb=run)


def report(p):
    """Arguments of ``jaxcell report``."""
    p.add_argument("runs", metavar="RUN", nargs="+", help="workdir of a training run")
    p.add_argument("--out", required=True, metavar="DIR", help="for report.md and curves.png")

    def run(asked):
        from jaxcell import report

        print(report(asked.pop("runs"), **asked))

    p.set_defaults(verb=run)


def masked(p):
    """Arguments of ``jaxcell masked``."""
    p.add_argument("store", metavar="STORE", help="with validation cells")
    p.add_argument("--checkpoint", required=True, help=options.CHECKPOINT)
    p.add_argument("--loss", default="mgm", metavar="NAME", help="that compares the bins; mgm")
    p.add_argument("--ratio", type=float, metavar="M", help="of masked genes, not the config's")
    p.add_argument("--nonzero", type=float, metavar="P", help="share of them that has a count")
    p.add_argument("--seed", type=options.seed, default=0, help="of the masks")
    p.add_argument("--draws", type=int, default=1, help="of masks for each cell")
    p.add_argument(
        "--regression", dest="k", type=int, default=0, metavar="K", help="on K genes, beside it"
    )

    def run(asked):
        from jaxcell import masked_genes
        from jaxcell.masked_prediction import show

        print(show(masked_genes(asked.pop("store"), asked.pop("checkpoint"), **asked)))

    p.set_defaults(verb=run)


def ablate(p):
    """Arguments of ``jaxcell ablate``."""
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
