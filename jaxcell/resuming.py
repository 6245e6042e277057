"""``jaxcell resume``: go on with what was stopped, as the call that began it would."""

import contextlib
import inspect
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxcell import calls
from jaxcell.data.preparing.unfinished import folder_of
from jaxcell.data.types import StrPath
from jaxcell.files import holds
from jaxcell.stages import finished
from jaxcell.training import run_file
from jaxcell.training.workdir import saved

KINDS = (
    "the workdir of a training run, the folder of a store whose making was stopped, the folder of "
    "a benchmark or of an ablation"
)


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    what : in words; complete : whether nothing is left to do
    cwd : the folder in which it was begun
    ready : overrides of a config's fields → a call that does the rest; refuses wrong ones
    """

    what: str
    complete: bool
    cwd: str | None = None
    ready: Callable = lambda overrides: lambda: None


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
    go = found.ready(overrides)
    if found.complete and not overrides:
        print(f"{folder}: {found.what}, complete: nothing to go on with")
        return False
    print(f"{folder}: goes on with {found.what}")
    # Where that folder is gone, absolute paths still hold; others are missed by name.
    there = found.cwd and Path(found.cwd).is_dir()
    with contextlib.chdir(found.cwd) if there else contextlib.nullcontext():
        go()
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
    if run := run_file.read(folder):
        return _of_run(folder, run)
    if call := calls.read(folder):
        return _OF[call["verb"]](folder, call)
    if known := holds(folder):
        raise ValueError(f"{folder}: is {known}; expected {KINDS}")
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
    if (folder / "suite.json").is_file() or (folder / "arms").is_dir():
        return f"the work of an older jaxcell, which kept no {calls.FILE}: give its command again"
    return "an empty folder" if not any(folder.iterdir()) else "none of our folders"


def _of_prepare(store, folder):
    call = calls.read(folder)
    if call is None:
        raise ValueError(f"{folder}: lacks {calls.FILE}; call jaxcell.prepare as before")
    if call["verb"] != "prepare":
        raise ValueError(
            f"{folder / calls.FILE}: is damaged: verb: found {call['verb']!r}, expected prepare in "
            f"a folder called .NAME.unfinished; {calls.NEXT}"
        )
    done = len(list((folder / "results").glob("write*.npz")))
    asked = {**_arguments(folder, call), "out": str(store), "progress": True}

    def ready(_):
        from jaxcell.data.prepare import prepare

        _check_names(folder, prepare, asked)
        return lambda: prepare(**asked)

    return Found(f"a store of which {done} blocks of cells are written", False, call["cwd"], ready)


def _of_moved_prepare(folder, call):
    raise ValueError(
        f"{folder}: found the {calls.FILE} of a store that is not finished, whose folder is called "
        ".NAME.unfinished; expected that name: rename it (mv) to go on"
    )


def _arguments(folder, call):
    """Those of a call, or a refusal where it cannot be made again."""
    if "in_memory" in call:
        raise ValueError(
            f"{folder}: was begun from Python with objects in memory "
            f"({', '.join(call['in_memory'])}), which are not kept; call jaxcell.{call['verb']} as "
            "before"
        )
    return call["arguments"]


def _check_names(folder, function, given):
    """Refuse arguments that a function does not take, or lacks: another version's, or damage."""
    takes = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in takes):  # which checks them itself
        return
    names = [one.name for one in takes]
    needs = [one.name for one in takes if one.default is one.empty]
    for what, wrong in (
        ("unknown", [name for name in given if name not in names]),
        ("lacking", [name for name in needs if name not in given]),
    ):
        if wrong:
            raise ValueError(
                f"{folder / calls.FILE}: is damaged, or of another version of jaxcell: {what} are "
                f"the arguments {', '.join(wrong)}; expected {', '.join(names)}: {calls.NEXT}"
            )


def _of_benchmark(folder, call):
    asked = dict(_arguments(folder, call))
    name, options, out = asked["name"], asked.pop("options"), _out(folder, call)
    asked |= {**options, "out": out, "progress": True}

    def ready(_):
        from jaxcell.suites.runner import benchmark
        from jaxcell.verbs.benchmark import show

        return lambda: show(name, out, benchmark(**asked))

    return Found(f"the benchmark {name}", False, call["cwd"], ready)


def _of_ablation(folder, call):
    asked = {**_arguments(folder, call), "out": _out(folder, call)}
    name, given = asked["suite_name"], asked["experiment"]

    def ready(_):
        from jaxcell.ablations.runner import ablate
        from jaxcell.ablations.suites import suite

        kind = suite(name)
        _check_names(folder, ablate, asked)
        _check_names(folder, kind.experiment, given)
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        asked["experiment"] = kind.experiment(**fields)
        return lambda: print("\n" + kind.tables.text(ablate(**asked)))

    return Found(f"the ablation {name}", False, call["cwd"], ready)


def _out(folder, call):
    """The folder as the call named it, which the report shows; absolute where it was moved."""
    given = call["arguments"].get("out")
    same = given and os.path.abspath(os.path.join(call["cwd"], given)) == str(folder)
    return given if same else str(folder)


def _of_run(folder, run):
    c, session = run["config"], run["sessions"][-1]
    step, steps = max(saved(folder), default=0), run["steps"]
    cwd, before = session.get("cwd"), session.get("workdir")
    if before is None and (call := calls.read(folder)):  # of an older jaxcell
        before = _workdir(call)
    complete = step >= steps and not _lacking(folder, c, run)
    what = f"a training run at step {step} of {steps}"
    ready = _training(folder, folder / run_file.FILE, c, cwd, before)
    return Found(what, complete, cwd, ready)


def _of_train(folder, call):
    c, path = _arguments(folder, call)["config"], folder / calls.FILE
    ready = _training(folder, path, c, call["cwd"], _workdir(call))
    return Found("a training run that has not begun to train", False, call["cwd"], ready)


def _workdir(call):
    """The workdir of a call of train, absolute; None where it is not known."""
    given = call.get("arguments", {}).get("workdir")
    return os.path.join(call["cwd"], given) if isinstance(given, str) else None


def _training(folder, path, kept, cwd, before):
    """`Found.ready` of a training run.

    path : of the file that its config was kept in; kept : the config, as JSON has it
    cwd : the folder that its paths start from; before : its workdir then, absolute
    """

    def ready(overrides):
        from jaxcell import config
        from jaxcell.main import carry_out
        from jaxcell.overrides import changed

        try:
            c = config.from_json(json.dumps(kept))
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: is damaged: config: found none of a run ({error}), expected all its "
                f"fields; {run_file.NEXT.format(folder)}"
            ) from None
        c.data.store = _moved(c.data.store, cwd, before, folder)
        c = changed(c, overrides)
        return lambda: carry_out(c, folder)

    return ready


def _moved(store, cwd, before, folder):
    """The path of a store that lay in a run's workdir: it is where that is now."""
    if not store or not cwd or not before:
        return store
    old = os.path.normpath(os.path.join(cwd, store))
    inside = os.path.relpath(old, os.path.normpath(before))
    if inside.startswith(os.pardir) or os.path.normpath(before) == str(folder):
        return store
    return str(folder / inside)


def _lacking(folder, c, run):
    """Files and stages that a run which has taken its last step still lacks."""
    lacking = [] if (folder / "model").is_dir() else ["model"]
    errors = c["train"].get("gene_errors") and run["data"]["cells"].get("valid")
    if errors and not (folder / "gene_errors.tsv").is_file():
        lacking.append("gene_errors.tsv")
    done = finished(folder)
    return lacking + [name for name in c["stages"] if name != "train" and name not in done]


_OF = {
    "prepare": _of_moved_prepare,
    "train": _of_train,
    "benchmark": _of_benchmark,
    "ablate": _of_ablation,
}
