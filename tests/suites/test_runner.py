"""The runner of benchmarks: parts computed once, input refused first, one report."""

import json
import re
import shlex
import sys
import types

import pytest

from jaxcell import benchmark, cli, resume
from jaxcell.evaluation import html
from jaxcell.suites import registry
from jaxcell.suites.suite import Part, Suite

RUN = []


def _plan(asked):
    if asked.options["size"] < 1:
        raise ValueError(f"size: found {asked.options['size']}, expected 1 or more")

    def run(seed):
        RUN.append(seed)
        return {"score": asked.options["size"] + seed, "none": None}

    return [
        Part(f"one-{s}", f"seed {s}", {"size": asked.options["size"]}, lambda s=s: run(s))
        for s in range(asked.seeds)
    ]


def _blocks(results):
    rows = [{"name": key, **part} for key, part in results["parts"].items()]
    return [html.Heading("All"), html.Table("Scores", [html.Column("score", "score")], rows)]


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    """A suite that counts how often its parts run."""
    RUN.clear()
    module = types.ModuleType("counting_suite")
    module.SUITE = Suite(
        "Counting",
        "counts",
        lambda p: p.add_argument("--size", type=int, default=1),
        _plan,
        _blocks,
        lambda results: f"{len(results['parts'])} parts",
    )
    monkeypatch.setitem(sys.modules, "counting_suite", module)
    monkeypatch.setitem(registry.MODULES, "counting", "counting_suite")
    monkeypatch.setitem(registry.MODULES, "other", "counting_suite")


def test_a_part_is_computed_once_and_again_when_its_mark_changes(tmp_path):
    first = benchmark("counting", tmp_path, seeds=2, progress=False)
    assert RUN == [0, 1]
    assert first["parts"] == {
        "one-0": {"score": 1, "none": None},
        "one-1": {"score": 2, "none": None},
    }
    assert benchmark("counting", tmp_path, seeds=3, progress=False)["parts"]["one-2"]
    assert RUN == [0, 1, 2]
    again = benchmark("counting", tmp_path, seeds=1, size=5, progress=False)
    assert RUN == [0, 1, 2, 0]
    assert again["parts"]["one-0"]["score"] == 5
    assert json.loads((tmp_path / "results.json").read_text()) == again


def test_a_stopped_benchmark_goes_on(tmp_path, monkeypatch, capsys):
    def stop(self):
        raise KeyboardInterrupt

    real = sys.modules["counting_suite"].SUITE
    stopping = lambda asked: [
        *real.plan(asked)[:1],
        Part("one-1", "", {"size": 1}, lambda: stop(0)),
    ]
    monkeypatch.setattr(
        sys.modules["counting_suite"],
        "SUITE",
        Suite(real.title, real.about, real.arguments, stopping, real.blocks, real.text),
    )
    with pytest.raises(SystemExit) as left:
        cli.main(["benchmark", "counting", "--out", str(tmp_path), "--seeds", "2"])
    assert left.value.code == 130
    said = f"stopped: go on with the same command, or: jaxcell resume {tmp_path}\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "report.html").exists()
    monkeypatch.setattr(sys.modules["counting_suite"], "SUITE", real)
    cli.main(["resume", str(tmp_path)])
    assert RUN == [0, 1]
    said = f"{tmp_path}: goes on with the benchmark counting\n2 parts\n"
    assert capsys.readouterr().out == f"{said}report: {tmp_path}/report.html\n"
    found = (tmp_path / "results.json").read_text()
    benchmark("counting", tmp_path, seeds=2, progress=False)
    assert (tmp_path / "results.json").read_text() == found


def test_a_benchmark_goes_on_from_where_it_was_moved_to(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    benchmark("counting", "out", seeds=2, size=3, data="data", progress=False)
    found = json.loads((tmp_path / "a" / "out" / "results.json").read_text())
    monkeypatch.chdir("/")
    resume(tmp_path / "a" / "out")  # its paths start where it was begun
    assert json.loads((tmp_path / "a" / "out" / "results.json").read_text()) == found
    (tmp_path / "a" / "out").rename(tmp_path / "moved")
    resume(tmp_path / "moved")
    assert RUN == [0, 1]
    assert not (tmp_path / "a" / "out").exists()
    meta, moved = found["meta"], str(tmp_path / "moved")
    meta |= {"out": moved, "command": meta["command"].replace("--out out", f"--out {moved}")}
    assert json.loads((tmp_path / "moved" / "results.json").read_text()) == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (dict(seeds=0), "seeds: found 0"),
        (dict(size=0), "size: found 0"),
        (dict(sizes=1), "sizes: no option of the suite counting, which takes size"),
    ],
)
def test_bad_input_writes_nothing(asked, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        benchmark("counting", tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_a_folder_belongs_to_one_suite(tmp_path):
    benchmark("counting", tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds the suite counting"):
        benchmark("other", tmp_path, progress=False)


def test_the_command(tmp_path, capsys):
    cli.main(["benchmark", "counting", "--out", str(tmp_path / "o"), "--size", "3", "--seeds", "1"])
    assert "1 parts" in capsys.readouterr().out
    assert "Counting" in (tmp_path / "o" / "report.html").read_text()
    with pytest.raises(SystemExit, match="size: found 0"):
        cli.main(["benchmark", "counting", "--out", str(tmp_path / "p"), "--size", "0"])
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "nonsense", "--out", str(tmp_path / "p")])
    assert "counting" in capsys.readouterr().err


def test_a_broken_part_is_computed_again(tmp_path):
    benchmark("counting", tmp_path, seeds=1, progress=False)
    (tmp_path / "parts" / "one-0.json").write_text("{")
    found = benchmark("counting", tmp_path, seeds=1, progress=False)
    assert RUN == [0, 0]
    assert found["parts"]["one-0"]["score"] == 1


def test_a_part_of_another_version_is_computed_again(tmp_path, monkeypatch):
    benchmark("counting", tmp_path, seeds=1, progress=False)
    monkeypatch.setattr("jaxcell.suites.runner.__version__", "9.9")
    benchmark("counting", tmp_path, seeds=1, progress=False)
    assert RUN == [0, 0]


def test_a_report_of_another_kind_is_not_written_over(tmp_path):
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(ValueError, match="holds a report of another kind"):
        benchmark("counting", tmp_path, progress=False)
    assert (tmp_path / "results.json").read_text() == "mine"


def test_the_report_says_how_it_was_made(tmp_path, capsys):
    out = tmp_path / "my out"
    found = benchmark("counting", out, seeds=1, size=3, baselines=["a", "b"], progress=False)
    command = f"jaxcell benchmark counting --out '{out}' --seeds 1 --baselines a b --size 3"
    assert found["meta"]["command"] == command
    page = (out / "report.html").read_text()
    assert f"<pre><code>{command.replace(chr(39), '&#x27;')}</code></pre>" in page
    assert re.search(r"\d+ cores, \d+ GB of memory, ", page)
    cli.main(shlex.split(command)[1:])  # it is the command of the same benchmark
    assert json.loads((out / "results.json").read_text()) == found
    assert RUN == [0]
