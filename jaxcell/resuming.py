"""``jaxcell resume``: go on with what was stopped, as the call that began it would."""

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxcell import calls
from jaxcell.data.preparing.unfinished import folder_of
from jaxcell.data.types import StrPath

KINDS = (
    "the workdir of a training run, the folder of a store whose making was stopped, the folder of "
    "a benchmark or of an ablation"
)
MODEL = "format_version"  # a file of every model folder


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    what : in words; complete : whether nothing is left to do
    cwd : the folder in which it was begun
    go : overrides of a config's fields → does the rest
    """

    what: str
    complete: bool
    cwd: str | None = None
    go: Callable | None = None


def resume(
    folder: StrPath,
    overrides: Sequence[str] = (),
) -> bool:
    """Go on with stopped work: ``jaxcell resume``.

    What is made is what it would have been without the stop, bit for bit (of a training run on the
    same mesh).

    Parameters
    ----------
    folder : workdir of a training run, which goes on by the config that is kept there, on the
        devices of now; a store that is not finished yet, or its ``.NAME.unfinished``; the folder of
        a benchmark or an ablation
    overrides : of a training run, fields of its config: ('--config.mesh.fsdp=4', …); those that a
        run may not change are refused

    Returns
    -------
    bool : False when there was nothing left to do

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such folder, it holds nothing that can be gone on with, or what the work needs
        is not there any more.
    SystemExit, KeyboardInterrupt
        When it was stopped again.
    """
    folder = Path(folder).absolute()
    found = find(folder)
    if overrides and not found.what.startswith("a training run"):
        raise ValueError(f"found {overrides[0]}, expected no options: {folder} holds {found.what}")
    if found.complete:
        print(f"{folder}: {found.what}, complete: nothing to go on with")
        return False
    print(f"{folder}: goes on with {found.what}")
    # Where that folder is gone, absolute paths still hold; others are missed by name.
    there = found.cwd and Path(found.cwd).is_dir()
    with contextlib.chdir(found.cwd) if there else contextlib.nullcontext():
        found.go(overrides)
    return True


def find(folder):
    """What a folder holds that can be gone on with.

    Raises
    ------
    FileNotFoundError, ValueError
        Nothing: the message says what it is instead.
    """
    store = _store_of(folder)
    if (store / "store.json").is_file():
        return Found("a store", True)
    if folder_of(store).is_dir():
        return _of_prepare(store, folder_of(store))
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: there is nothing; expected {KINDS}")
    call = calls.read(folder) if folder.is_dir() else None
    if (folder / "run.json").is_file() or (call and call["verb"] == "train"):
        return _of_training(folder, call)
    if call:
        return _of_call(folder, call)
    raise ValueError(
        f"{folder}: is {_otherwise(folder)}, which cannot be gone on with; expected {KINDS}"
    )


def _store_of(folder):
    """The store NAME of a folder .NAME.unfinished, else the folder itself."""
    name = folder.name
    if name.startswith(".") and name.endswith(".unfinished"):
        return folder.with_name(name[1:].removesuffix(".unfinished"))
    return folder


def _otherwise(folder):
    """What something is that is no stopped work."""
    if folder.is_file():
        return "a file"
    if (folder / MODEL).is_file():
        return "a finished model"
    if (folder / "suite.json").is_file() or (folder / "arms").is_dir():
        return f"the work of an older jaxcell, which kept no {calls.FILE}: give its command again"
    return "an empty folder" if not any(folder.iterdir()) else "none of our folders"


def _of_prepare(store, folder):
    call = _arguments(folder, calls.read(folder), "prepare")
    done = len(list((folder / "results").glob("write*.npz")))

    def go(_):
        from jaxcell.data.prepare import prepare

        asked = {**call["arguments"], "out": str(store), "progress": True}
        prepare(asked.pop("out"), asked.pop("files"), **asked)

    return Found(f"a store of which {done} blocks of cells are written", False, call["cwd"], go)


def _arguments(folder, call, verb):
    """The call, or a refusal where it cannot be made again."""
    again = f"call jaxcell.{verb} as before"
    if call is None:
        raise ValueError(f"{folder}: lacks {calls.FILE}, or it is damaged; {again}")
    if "arguments" not in call:
        raise ValueError(
            f"{folder}: was begun from Python with objects in memory "
            f"({', '.join(call['in_memory'])}), which are not kept; {again}"
        )
    return call


def _of_call(folder, call):
    verb = call["verb"]
    asked = dict(_arguments(folder, call, verb)["arguments"])
    if verb == "benchmark":
        name, options, out = asked.pop("name"), asked.pop("options"), _out(folder, call)
        asked |= {**options, "out": out, "progress": True}

        def go(_):
            from jaxcell.suites.runner import benchmark
            from jaxcell.verbs.benchmark import show

            show(name, out, benchmark(name, **asked))

        return Found(f"the benchmark {name}", False, call["cwd"], go)
    fields, name = asked.pop("experiment"), asked["suite_name"]

    def again(_):
        from jaxcell.ablations.runner import ablate
        from jaxcell.ablations.suites import suite

        given = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        results = ablate(suite(name).experiment(**given), _out(folder, call), **asked)
        print("\n" + suite(name).tables.text(results))

    return Found(f"the ablation {name}", False, call["cwd"], again)


def _out(folder, call):
    """The folder as the call named it, which the report shows; absolute where it was moved."""
    given = call["arguments"].get("out")
    same = given and os.path.abspath(os.path.join(call["cwd"], given)) == str(folder)
    return given if same else str(folder)


def _of_training(folder, call):
    run = folder / "run.json"
    if run.is_file():
        kept = json.loads(run.read_text(encoding="utf-8"))
        c, cwd = kept["config"], kept["sessions"][-1].get("cwd")
        step, steps = _newest(folder), kept["steps"]
        what = f"a training run at step {step} of {steps}"
        complete = step >= steps and not _lacking(folder, c, kept)
    else:
        c, cwd = _arguments(folder, call, "train")["arguments"]["config"], call["cwd"]
        what, complete = "a training run that has not begun to train", False

    def go(overrides):
        from jaxcell import config
        from jaxcell.main import carry_out
        from jaxcell.overrides import changed

        carry_out(changed(config.from_json(json.dumps(c)), overrides), folder)

    return Found(what, complete, cwd, go)


def _newest(folder):
    """The newest step that is saved in a workdir, 0 for none."""
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    return max(steps, default=0)


def _lacking(folder, c, run):
    """Files and stages that a run which has taken its last step still lacks."""
    lacking = [] if (folder / "model").is_dir() else ["model"]
    errors = c["train"]["gene_errors"] and run["data"]["cells"]["valid"]
    if errors and not (folder / "gene_errors.tsv").is_file():
        lacking.append("gene_errors.tsv")
    stages = folder / "stages.json"
    done = json.loads(stages.read_text(encoding="utf-8")) if stages.is_file() else {}
    return lacking + [name for name in c["stages"] if name != "train" and name not in done]
