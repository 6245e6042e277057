"""--help of every verb: its examples, which parse, and some of which are run."""

import shlex

import pytest

from jaxcell import cli
from jaxcell.suites.registry import MODULES
from jaxcell.verbs import benchmark
from jaxcell.verbs.examples import DEMO, EXAMPLES


def parsers():
    """{verb: its Parser}, of verbs below verbs too; of jaxcell itself under ''."""
    parser = cli.parser()
    return {"": parser, **_below(parser), **_below(benchmark.parser([]))}


def _below(parser):
    found = {}
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        for one in action.choices.values():
            found[one.prog.removeprefix("jaxcell ")] = one
            found |= _below(one)
    return found


def test_every_verb_has_an_example_and_no_example_is_without_a_verb():
    verbs = parsers()
    assert set(EXAMPLES) == set(verbs)
    assert {f"benchmark {name}" for name in MODULES} <= set(verbs)
    for verb, parser in verbs.items():
        assert parser.format_help().rstrip().endswith(EXAMPLES[verb][-1])
        assert parser.description
        assert "``" not in parser.format_help()


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_parses(line, capsys):
    program, *argv = shlex.split(line)
    if program == "python":
        assert argv[:2] == ["-m", "jaxcell.main"]
        argv = ["train", *argv[2:]]
    else:
        assert program == "jaxcell"
    parser = benchmark.parser(argv[1:]) if argv[0] == "benchmark" else cli.parser()
    if argv[-1] == "--help":
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(argv[1:])
        assert stop.value.code == 0
        return
    left = parser.parse_known_args(argv[argv[0] == "benchmark" :])[1]
    assert all(text.startswith("--config.") for text in left)


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["perturb", "split", "-h"]])
def test_help_ends_well(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 0
    assert "--debug" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as users have it: of few steps explain warns
def test_what_the_examples_make_of_the_demo(tmp_path, monkeypatch, capsys):
    """Each example on what the demo leaves works as it is pasted; here the demo is smaller."""
    from tests.conftest import ROOT

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    demo = DEMO.replace("demo.py", "demo.py:tiny").replace("python -m jaxcell.main", "train")
    cli.main([*shlex.split(demo), "--config.name=demo"])
    lines = [lines[0] for lines in EXAMPLES.values()]
    done = [line for line in lines if line != DEMO and _runs(line)]
    assert len(done) >= 12
    for line in done:
        cli.main(shlex.split(line)[1:])
    assert (tmp_path / "embedded.h5ad").exists()
    assert (tmp_path / "curves" / "report.md").exists()


def _runs(line):
    """Whether an example takes nothing but what is here, and minutes at most."""
    return (
        "runs/demo" in line or "pbmc68k" in line or "--planted" in line
    ) and "--help" not in line
