"""``jaxcell benchmark SUITE`` on the command line; each suite has options of its own."""

from jaxcell.verbs import options
from jaxcell.verbs.parser import Parser, add_verbs


def start(argv):
    """Parse and run ``jaxcell benchmark``."""
    _run(vars(parser(argv).parse_args(argv)))


def parser(argv):
    """Of all suites; where ``argv`` begins with the name of one, that module alone is loaded."""
    from jaxcell.suites.registry import MODULES, suite

    parser = Parser(
        prog="jaxcell benchmark",
        description="What the papers measured, beside baselines: results.json and report.html.",
    )
    add = add_verbs(parser, "suites", "SUITE")
    one = argv[0] if argv and argv[0] in MODULES else None
    for name in [one] if one else MODULES:
        _arguments(add(name, help=suite(name).about), name)
    return parser


def _arguments(p, name):
    from jaxcell.suites.registry import suite

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
