"""Many processes that run one program: who they are, and what they tell each other.

Process 0 alone prints and writes what is the same for all. What the processes must agree on goes
through JAX's coordination service, on the host: a device collective would start the backend, and
would time out where process 0 prepares a store for hours. With one process all of it is free.
"""

import itertools
import json
import os
import sys
import threading

import jax

# The client of the coordination service has no public name; Orbax reaches it in the same way.
from jax._src import distributed

from jaxcell import launchers

FOREVER = 30 * 24 * 3600 * 1000  # ms; JAX ends a process itself when another one dies
_calls = itertools.count()  # the same on all processes, as they make the same calls


class OtherProcess(ValueError):
    """What went wrong on another process, raised on this one too; that one has said it already."""


def initialise(timeout=300):
    """Join the other processes of this job, before anything starts a backend; alone, do nothing.

    timeout : seconds to wait for the others; without them the process ends, with status 1 and a
        line that says which variables were seen

    Raises
    ------
    ValueError
        When the launcher's variables do not hold, or process 0 cannot listen; says which were seen.
    """
    job = launchers.find()
    if job is None or jax.distributed.is_initialized():
        return
    who = f"process {job.process} of {job.processes} by {job.launcher}"
    alone = threading.Timer(timeout, _end_alone, [job, who, timeout])
    alone.daemon = True
    alone.start()
    try:
        jax.distributed.initialize(
            job.coordinator,
            job.processes,
            job.process,
            local_device_ids=job.devices,
            cluster_detection_method="deactivate",
            initialization_timeout=timeout + 60,  # behind it JAX aborts, with a stack trace in C++
            # One that fails alone would hold up its own end, and by it the others', for as long.
            shutdown_timeout_seconds=60,
        )
    except RuntimeError as error:
        raise ValueError(
            f"{who}: cannot meet the others at {job.coordinator} ({str(error).splitlines()[0]}); "
            f"seen: {launchers.seen()}"
        ) from error
    finally:
        alone.cancel()
    say(f"{job.processes} processes by {job.launcher}, process 0 at {job.coordinator}")


def _end_alone(job, who, timeout):
    print(
        f"error: {who}: the others did not come to {job.coordinator} within {timeout} s. Are all "
        "of them started, with the same variables but their own number, and can they reach that "
        f"address? seen: {launchers.seen()}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def check():
    """Raise when JAX sees processes that have not joined: each of them would write the same run."""
    if jax.process_count() != count():
        raise ValueError(
            f"this is one of {jax.process_count()} processes by JAX, and has joined no other; call "
            "jaxcell.processes.initialise() before anything computes, as jaxcell.main does"
        )


def count():
    """How many processes run this program; starts no backend."""
    return distributed.global_state.num_processes if _client() else 1


def index():
    """Which of them this is."""
    return distributed.global_state.process_id if _client() else 0


def first():
    """Whether this is the process that prints and writes what is the same for all."""
    return index() == 0


def say(text):
    """Print on process 0."""
    if first():
        print(text, flush=count() > 1)


def from_first(make):
    """What ``make()`` returns on process 0, on every process; an error there is raised on all.

    make : called on process 0 alone; returns what JSON holds. May take days: the others wait.
    """
    if count() == 1:
        return make()
    client, key = _client(), f"jaxcell/{next(_calls)}"
    if not first():
        said = json.loads(client.blocking_key_value_get(key, FOREVER))
        if "error" in said:
            raise OtherProcess(said["error"])
        return said["value"]
    try:
        value = make()
        text = json.dumps({"value": value})
    except BaseException as error:
        whose = "" if isinstance(error, OtherProcess) else "process 0: "
        client.key_value_set(key, json.dumps({"error": whose + _said(error)}))
        raise
    client.key_value_set(key, text)
    return value


def together(make):
    """What ``make()`` returns on each process; where it raises on one, every process raises."""
    if count() == 1:
        return make()
    client, key = _client(), f"jaxcell/{next(_calls)}"
    try:
        value, failed = make(), None
    except Exception as error:
        value, failed = None, error
    client.key_value_set(f"{key}/{index()}", _said(failed) if failed else "")

    def all_well():
        found = (client.blocking_key_value_get(f"{key}/{i}", FOREVER) for i in range(count()))
        said = [f"process {i}: {text}" for i, text in enumerate(found) if text]
        if said:
            more = f" (and {len(said) - 1} more processes)" if len(said) > 1 else ""
            raise OtherProcess(said[0] + more)

    try:
        from_first(all_well)
    except OtherProcess:
        if failed:
            raise failed from None
        raise
    return value


def same(what, value):
    """Raise ValueError on all processes when ``value`` is not what process 0 has.

    value : what JSON holds; of two dicts the message shows the entries that differ
    """
    if count() == 1:
        return
    mine = json.loads(json.dumps(value))
    theirs = from_first(lambda: mine)

    def check():
        if mine == theirs:
            return
        here, there = mine, theirs
        if isinstance(mine, dict) and isinstance(theirs, dict):
            differ = [k for k in sorted({*mine, *theirs}) if mine.get(k) != theirs.get(k)]
            here, there = ({k: one.get(k) for k in differ} for one in (mine, theirs))
        raise ValueError(
            f"{what} is {here!r} here ({os.uname().nodename}), {there!r} on process 0; start every "
            "process with the same command, on files that all of them share"
        )

    together(check)


def wait():
    """Go on when every process has come here."""
    if count() > 1:
        _client().wait_at_barrier(f"jaxcell/{next(_calls)}", FOREVER)


def on_host(tree):
    """A tree of arrays as numpy arrays, on every process; every process must call it."""
    from jax.experimental import multihost_utils

    def gathered(x):
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return x
        # A leaf at a time: no device ever holds more than one whole array beside its own parts.
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.device_get(jax.tree.map(gathered, tree))


def _said(error):
    return str(error) or type(error).__name__


def _client():
    return distributed.global_state.client
