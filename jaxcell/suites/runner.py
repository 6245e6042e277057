"""``jaxcell benchmark``: the parts of a suite, each computed once; then results and report."""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxcell import __version__, calls
from jaxcell.data.types import StrPath
from jaxcell.evaluation import html, html_page
from jaxcell.files import read_json
from jaxcell.interrupts import goes_on, told
from jaxcell.progress import bar
from jaxcell.suites import made_by
from jaxcell.suites.registry import suite
from jaxcell.suites.suite import Asked
from jaxcell.training.checkpoint import load_model
from jaxcell.training.workdir import lock
from jaxcell.writing import check_fillable, write_text

WRITTEN = ("results.json", "report.html", "report.md")
PACKAGES = ("jaxcell", "jax", "numpy", "scipy", "scikit-learn", "scanpy", "scib-metrics")


def benchmark(
    name: str,
    out: StrPath,
    *,
    checkpoints: Mapping[str, StrPath] | None = None,
    data: StrPath | Sequence[StrPath] = (),
    seeds: int = 3,
    baselines: Sequence[str] = (),
    progress: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Run a benchmark suite: ``jaxcell.benchmark``.

    Goes on where it was stopped: a part whose data, checkpoint and settings are the same is not
    computed again.

    Parameters
    ----------
    name : str
        Of the suite, see ``jaxcell.suites.registry``.
    out : path
        Folder: ``parts/``, results.json, report.html (self-contained) and ``figures/``.
    checkpoints : dict, optional
        {name: workdir, step folder, model folder or hf://…}, a row of the tables each.
    data : path or sequence of paths
        Files, or a folder laid out as JAXCELL_DATA; by default the folder of that variable.
    seeds : int
        Of what draws: 0 … seeds − 1.
    baselines : sequence of str
        By short name; the suite's own by default.
    progress : bool
        Show a progress bar.
    options
        The suite's own, by the names of its command-line options.

    Returns
    -------
    dict
        As in results.json: ``meta``, ``parts`` {key: result}.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        About the input, before anything is written.
    KeyboardInterrupt
        When it was stopped; says how to go on.
    """
    call = dict(locals())
    chosen = suite(name)
    given = (data,) if isinstance(data, str | Path) else tuple(data)
    asked = Asked(dict(checkpoints or {}), given, Path(out), seeds, tuple(baselines))
    asked.options = _options(chosen, name, options)
    _check(asked, name)
    parts = chosen.plan(asked)
    _check_keys(parts)
    with told(lambda: goes_on(out)), lock(asked.out):
        calls.keep(asked.out, "benchmark", call)
        write_text(asked.out / "suite.json", json.dumps({"suite": name}) + "\n")
        found = _computed(parts, asked.out / "parts", progress)
        results = {"meta": _meta(chosen, name, asked), "parts": found}
        write_text(asked.out / "results.json", _json(results))
        write_text(
            asked.out / "report.html", html_page.page(chosen.title, _blocks(chosen, results), out)
        )
    return results


def _parser(chosen):
    parser = argparse.ArgumentParser(add_help=False)
    chosen.arguments(parser)
    return parser


def _options(chosen, name, given):
    """The suite's options, defaults filled in."""
    options = vars(_parser(chosen).parse_args([]))
    if unknown := sorted(given.keys() - options.keys()):
        raise ValueError(
            f"{unknown[0]}: no option of the suite {name}, which takes "
            f"{', '.join(sorted(options)) or 'none of its own'}"
        )
    return options | given


def _check(asked, name):
    if asked.seeds < 1:
        raise ValueError(f"seeds: found {asked.seeds}, expected 1 or more")
    check_fillable(asked.out, "a benchmark")
    there = asked.out / "suite.json"
    if not there.exists() and any((asked.out / file).exists() for file in WRITTEN):
        raise ValueError(f"{asked.out}: holds a report of another kind; name a folder of its own")
    if not there.exists():
        return
    todo = f'write {{"suite": "{name}"}} into it if it is that suite\'s, or name another folder'
    if (other := read_json(there, {"suite": str}, todo)["suite"]) != name:
        raise ValueError(f"{asked.out}: holds the suite {other}; expected an own folder for {name}")


def _check_keys(parts):
    keys = [part.key for part in parts]
    odd = [key for key in keys if not re.fullmatch(r"[\w.\-]+", key, re.ASCII)]
    twice = [key for key in set(keys) if keys.count(key) > 1]
    if odd or twice:
        raise ValueError(f"parts: found the keys {odd + twice}, expected file names, each its own")


def _computed(parts, folder, progress):
    """{key: result} of all parts; those with an unchanged mark are read."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {part.key: _kept(folder / f"{part.key}.json", part.mark) for part in parts}
    missing = [part for part in parts if found[part.key] is None]
    total, done = len(parts), len(parts) - len(missing)
    with bar(total, "benchmark", "part", done=done, shown=progress) as shown:
        for part in missing:
            shown.note(part.title)
            result = part.run()
            mark = _whole(part.mark)
            write_text(folder / f"{part.key}.json", _json({"mark": mark, "result": result}))
            # As it is read the next time: tuples are lists, keys are strings.
            found[part.key] = json.loads(json.dumps(result))
            shown.update()
    return found


def _whole(mark):
    """A part's mark as it is kept: another version of jaxcell may compute it otherwise."""
    return json.loads(json.dumps({"jaxcell": __version__, "part": mark}))


def _kept(file, mark):
    """The result of a part that was computed with this mark, or None; also of a broken file."""
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
        return there["result"] if there["mark"] == _whole(mark) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _json(value):
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _blocks(chosen, results):
    meta = results["meta"]
    models = ", ".join(f"{name} ({hash_[:12]})" for name, hash_ in meta["checkpoints"].items())
    about = f"Models: {models or 'none'}. Seeds: {meta['seeds']}. {meta['machine']}."
    versions = ", ".join(f"{package} {v}" for package, v in meta["versions"].items())
    made = [html.Heading("How it was made"), html.Code(meta["command"]), html.Text(versions)]
    return [html.Text(about), *chosen.blocks(results), *made]


def _meta(chosen, name, asked):
    options = json.loads(json.dumps(asked.options, default=str))  # paths among them
    return {
        "suite": name,
        "title": chosen.title,
        "out": str(asked.out),
        "data": [str(path) for path in asked.data],
        "checkpoints": {k: load_model(path).sha256 for k, path in asked.checkpoints.items()},
        "seeds": asked.seeds,
        "baselines": list(asked.baselines),
        "options": options,
        "command": made_by.command(name, asked, _parser(chosen)),
        "machine": made_by.machine(),
        "versions": {package: version(package) for package in PACKAGES},
    }
