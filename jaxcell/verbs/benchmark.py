"""``jaxcell benchmark SUITE`` on the command line; each suite has options of its own."""

import argparse

from jaxcell.verbs import options


def start(argv):
    """Parse and run ``jaxcell benchmark``: the suite's name first, so that one module is loaded."""
    from jaxcell.suites.registry import MODULES, suite

    parser = argparse.ArgumentParser(
        prog="jaxcell benchmark",
        description="What the papers measured, beside baselines: results.json and report.html.",
    )
    add = parser.add_subparsers(title="suites", required=True, metavar="SUITE").add_parser
    for name in [n for n in MODULES if n == argv[0]] if argv else []:
        _arguments(add(name, help=suite(name).about), name)
    if not argv or argv[0] not in MODULES:
        for name in MODULES:
            add(name, help=suite(name).about)
    asked = vars(parser.parse_args(argv))
    _run(asked)


def _arguments(p, name):
    from jaxcell.suites.registry import suite

    p.description = suite(name).about
    p.add_argument("--out", required=True, metavar="DIR", help="a benchmark there is gone on with")
    p.add_argument(
        "--checkpoint",
        dest="checkpoints",
        nargs="+",
        default=(),
        type=options.named,
        metavar="NAME=RUN",
        help=f"models, a row each: {options.CHECKPOINT}",
    )
    p.add_argument(
        "--data", nargs="+", default=(), metavar="PATH", help="files or a folder; JAXCELL_DATA"
    )
    p.add_argument("--seeds", type=int, default=3, metavar="N", help="0 … N - 1; 3 by default")
    p.add_argument("--baselines", nargs="+", default=(), metavar="NAME", help="the suite's own")
    suite(name).arguments(p.add_argument_group("of this suite"))
    p.set_defaults(suite=name)


def _run(asked):
    from jaxcell import benchmark

    name, out = asked.pop("suite"), asked.pop("out")
    asked["checkpoints"] = named(asked["checkpoints"])
    show(name, out, benchmark(name, out, **asked))


def show(name, out, results):
    """Print what a benchmark found, and where."""
    from jaxcell.suites.registry import suite

    print(suite(name).text(results))
    print(f"report: {out}/report.html")


def named(pairs):
    """[(name, path), …] -> {name: path}; without a name its folder's.

    Raises
    ------
    ValueError
        Two of one name.
    """
    found = {}
    for name, path in pairs:
        name = name or path.rstrip("/").rpartition("/")[2].partition("@")[0]
        if name in found:
            raise ValueError(f"--checkpoint: two are called {name!r}; write NAME=RUN for each")
        found[name] = path
    return found
