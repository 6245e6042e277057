"""``jaxcell resume`` on the command line."""

from jaxcell.verbs import options


def resume(p):
    """Arguments of ``jaxcell resume``."""
    p.add_argument(
        "folder",
        metavar="DIR",
        help="workdir of a training run; a store that is not finished, or its .NAME.unfinished; "
        "folder of a benchmark or an ablation",
    )
    options.fields(p)

    def run(asked):
        from jaxcell import resume

        resume(asked["folder"], asked["overrides"])

    p.set_defaults(verb=run)
