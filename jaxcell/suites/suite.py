"""A benchmark as data: what it is asked, the parts that are computed, and the report they make."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A piece of a benchmark that is computed once and kept.

    key : of its file OUT/parts/KEY.json: letters, digits, - _ and .
    title : what the progress bar shows
    mark : JSON, everything its result depends on; with the same mark it is not computed again
    run : () -> its result, JSON without NaN
    """

    key: str
    title: str
    mark: object
    run: Callable


@dataclass
class Asked:
    """What a suite is given.

    checkpoints : {name: workdir, step folder, model folder or hf://…}
    data : files, or one folder laid out as JAXCELL_DATA; (): that variable's folder
    out : folder of parts and report
    seeds : of what draws, 0 … seeds − 1
    baselines : short names; (): the suite's own
    options : the suite's own options
    """

    checkpoints: dict
    data: tuple
    out: Path
    seeds: int = 3
    baselines: tuple = ()
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    title : of the report
    about : a sentence for --help
    arguments : (argparse parser) -> None; adds the suite's own options, none of them
        required: `plan` says what is missing
    plan : Asked -> [Part, …]; refuses bad input, before anything is written
    blocks : {'meta': {…}, 'parts': {key: result}} -> blocks of the report (`evaluation.html`)
    text : the same -> the lines printed at the end
    """

    title: str
    about: str
    arguments: Callable
    plan: Callable
    blocks: Callable
    text: Callable
