"""Two programs on one machine, by turns: each in a process of its own, one at a time at work.

A program gets ready (compiles, warms up), prints its facts as a line of JSON, and for each line on
its standard input does its work once and prints what it found. Machines are noisy, so sides take
turns and their medians are compared.
"""

import json
import os
import statistics
import subprocess
import sys


def serve(facts, work):
    """The program's side: say that it is ready, then work whenever asked.

    facts : dict; work : () -> dict with numbers
    """
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        print(json.dumps(work()), flush=True)


def alternate(sides, turns, say=print):
    """The asking side.

    Parameters
    ----------
    sides : {name: arguments of `python -m`}
    turns : of each side
    say : told how it goes

    Returns
    -------
    {name: its facts, and the medians over turns of its numbers}

    Raises
    ------
    RuntimeError
        When a side ends before it has answered; its own words are on standard error.
    """
    # Both hold their memory at a time; JAX would take three quarters of a GPU's.
    env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    running, found = {}, {}
    try:
        for name, arguments in sides.items():
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            running[name] = subprocess.Popen([sys.executable, "-m", *arguments], **pipes)
            # One at a time: compilers try kernels out, which another's work would disturb.
            found[name] = _answer(name, running[name])
        seen = {name: [] for name in sides}
        for turn in range(turns):
            for name, process in running.items():
                process.stdin.write("\n")
                process.stdin.flush()
                seen[name].append(_answer(name, process))
            say(f"turn {turn + 1} of {turns}: " + ", ".join(_show(n, seen[n][-1]) for n in sides))
    finally:
        for process in running.values():
            process.stdin.close()
            process.terminate()
            process.wait()
    for name, answers in seen.items():
        known = [k for k, value in answers[0].items() if value is not None]
        found[name] |= {k: statistics.median(a[k] for a in answers) for k in known}
        found[name]["turns"] = [a["cells_per_s"] for a in answers]
    return found


def _answer(name, process):
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
        print(f"{name}: {line}", end="")
    raise RuntimeError(f"{name}: ended with exit code {process.wait()} before it answered")


def _show(name, answer):
    return f"{name} {answer['cells_per_s']:.1f} cells/s"
