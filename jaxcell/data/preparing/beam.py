"""The blocks of `prepare` as Apache Beam pipelines; on the runner that the options name.

    jaxcell prepare OUT FILE… --beam
    jaxcell prepare OUT FILE… --beam --beam-options "--runner=FlinkRunner --flink_master=HOST:8081"

Without options Beam runs them in this machine's processes, one for each processor. One pipeline
surveys, then this process decides over cells and genes, then a second pipeline writes; each element
is the number of a block. All that a worker needs else it reads from the store's unfinished folder,
and there it puts what it found: so workers must see the sources and that folder by the same paths
as this process (shared disks), and a block that two workers do at once is simply done twice. The
content is that of a single process, and a pipeline that was stopped goes on in the same way.
"""

import functools
import json
import os
import pickle
import shlex
import shutil
import uuid
import warnings
from pathlib import Path

import numpy as np

from jaxcell.data.preparing.survey import Surveying
from jaxcell.data.preparing.unfinished import REFUSALS, KeptResults
from jaxcell.data.preparing.writer import ARRAYS, Part, Writing
from jaxcell.writing import whole_file

HERE = "--direct_running_mode=multi_processing --direct_num_workers={}"
KINDS = {kind.__name__: kind for kind in (Surveying, Writing)}


def engine(options):
    """What `prepare` has its blocks done by: (work, tasks, advance) → None.

    Parameters
    ----------
    options : str
        Of Beam, as on a command line; '' for processes of this machine.

    Raises
    ------
    ImportError
        Beam is absent.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    except ImportError as error:
        raise ImportError("Beam is needed: pip install 'jaxcell[beam]'") from error
    words = shlex.split(options or HERE.format(os.cpu_count()))
    asked = PipelineOptions(["--default_sdk_harness_log_level=ERROR", *words])
    local = asked.view_as(StandardOptions).runner in (None, "DirectRunner")
    runner = _local_runner(asked) if local else None

    def run(work, tasks, advance=None):
        if not tasks:
            return
        place = lay_down(work)
        with beam.Pipeline(runner, asked) as pipeline:
            blocks = pipeline | beam.Create(tasks)
            # Without a reshuffle a runner may keep all that one Create gave on one worker.
            _ = blocks | beam.Reshuffle() | beam.Map(functools.partial(do, str(place)))
        say(place)
        lost = [task for task in tasks if not work.is_done(task)]
        if lost:
            raise RuntimeError(
                f"Beam's workers did {len(tasks) - len(lost)} of {len(tasks)} blocks: do they see "
                f"{place} by this path?"
            )
        for task in tasks if advance else ():
            advance(work.cells(task))

    return run


def _local_runner(asked):
    """What DirectRunner comes to, without its try to fetch another one, Prism, from the network."""
    from apache_beam.portability.api import beam_provision_api_pb2 as provision
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner, fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    options = JobServiceHandle.encode_pipeline_options(asked.get_all_options())
    return FnApiRunner(
        provision_info=fn_runner.ExtendedProvisionInfo(
            provision.ProvisionInfo(pipeline_options=options)
        )
    )


def lay_down(work):
    """Put what workers need into the unfinished folder, a source at a time; that place."""
    results = KeptResults(work.results.folder.absolute())
    # A name of its own: workers that live on know by it what they have read already.
    place = results.folder.parent / "work" / f"{type(work).__name__}-{uuid.uuid4().hex}"
    for left in place.parent.glob(f"{type(work).__name__}-*"):
        shutil.rmtree(left, ignore_errors=True)
    place.mkdir(parents=True)
    if isinstance(work, Surveying):
        for i, each in enumerate(zip(work.sources, work.matches, strict=True)):
            _pickle(place / f"{i:05}", each)
        facts = {"asked": work.asked}
    else:
        for i, part in enumerate(work.parts):
            for name in ARRAYS:
                np.save(place / f"{i:05}-{name}.npy", getattr(part, name))
            _pickle(place / f"{i:05}", part.source)
        facts = {name: getattr(work, name) for name in ("first", "n_genes", "mark")}
        facts["folder"] = work.folder.absolute()
    _pickle(place / "work", (type(work).__name__, facts | {"results": results}))
    return place


def do(place, task):
    """Do a task in a worker; what it refuses or warns of is left for the launcher to say."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        try:
            _taken_up(place).do(task)
            refusal = None
        except REFUSALS as error:
            refusal = [type(error).__name__, str(error)]
    said = [str(one.message) for one in heard if one.category is UserWarning]
    if said or refusal:
        with whole_file(Path(place) / f"said-{uuid.uuid4().hex}") as path:
            path.write_text(json.dumps([task[0] if isinstance(task, tuple) else 0, refusal, said]))


def say(place):
    """Warn of what the workers warned of, once each, and raise the first of their refusals."""
    heard = [json.loads(path.read_text()) for path in Path(place).glob("said-*")]
    heard.sort(key=lambda one: (one[0], str(one)))  # a refusal is a list, or None
    for text in dict.fromkeys(text for _, _, said in heard for text in said):
        warnings.warn(text, stacklevel=4)
    for _, refusal, _ in heard:
        if refusal:
            kinds = {kind.__name__: kind for kind in REFUSALS}
            raise kinds.get(refusal[0], ValueError)(refusal[1])


@functools.lru_cache(maxsize=2)
def _taken_up(place):
    """What `lay_down` put there, in a worker; sources are opened as they are needed."""
    kind, facts = _unpickled(Path(place) / "work")
    if kind == "Surveying":
        one = _Each(lambda i: _unpickled(Path(place) / f"{i:05}"))
        facts |= {"sources": _Each(lambda i: one[i][0]), "matches": _Each(lambda i: one[i][1])}
    else:
        facts |= {"parts": _Each(functools.partial(_part, Path(place)))}
    return KINDS[kind](tasks=[], **facts)


def _part(place, i):
    arrays = {name: np.load(place / f"{i:05}-{name}.npy", mmap_mode="r") for name in ARRAYS}
    return Part(source=_unpickled(place / f"{i:05}"), facts=[], **arrays)


class _Each:
    """A sequence whose items are made when asked for; the last is kept."""

    def __init__(self, make):
        self._make = functools.lru_cache(maxsize=1)(make)

    def __getitem__(self, i):
        return self._make(i)


def _pickle(path, content):
    with whole_file(path) as partial:
        partial.write_bytes(pickle.dumps(content))


def _unpickled(path):
    return pickle.loads(path.read_bytes())
