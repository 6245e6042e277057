"""``jaxcell resume`` on the command line."""


def resume(p):
    """Arguments of ``jaxcell resume``."""
    p.add_argument(
        "folder",
        metavar="DIR",
        help="workdir of a training run; a store that is not finished, or its .NAME.unfinished; "
        "folder of a benchmark or an ablation",
    )
    p.epilog = "--config.mesh.fsdp=4 and the like change the config of a training run"

    def run(asked):
        from jaxcell import resume

        resume(asked["folder"], asked["overrides"])

    p.set_defaults(verb=run, fields=True)
