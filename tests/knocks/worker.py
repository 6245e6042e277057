"""Strike verbs in this process: `python -m tests.knocks.worker FOLDER SEED '{"prepare": 50, …}'`.

Started with `faults.c` in LD_PRELOAD. Each try is a line of JSON in FOLDER/found.jsonl: the call
that was struck, and what was wrong afterwards (nothing, if all is well).
"""

import faulthandler
import json
import shutil
import signal
import sys
import traceback
from pathlib import Path

import numpy as np

from tests.knocks.faults import CTRL_C, KINDS, NAMES, Faults
from tests.knocks.verbs import VERBS, compute_once, make_inputs, names

PATIENCE = 300  # seconds of one try; longer is taken for a deadlock
SAID = (OSError, ValueError)  # what the command line prints as one line


def main(folder, seed, asked):
    """Strike each verb so many times."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where tests run in background
    folder, faults = Path(folder), Faults()
    inputs = folder / "inputs"
    inputs.mkdir()
    make_inputs(inputs, asked)
    compute_once()
    with open(folder / "found.jsonl", "a") as log:
        for name, number in asked.items():
            random = np.random.default_rng([int(seed), *name.encode()])
            for found in strike(VERBS[name], number, random, inputs, folder / "place", faults):
                print(json.dumps({"verb": name, **found}), file=log, flush=True)


def strike(verb, number, random, inputs, place, faults):
    """Try a verb with a fault at each of some calls, drawn evenly over all; yields what was found.

    place : folder that is made anew for each try
    """
    place.mkdir()
    verb.run(inputs, place)  # traces and compiles
    shutil.rmtree(place)
    place.mkdir()
    with faults.armed(place):
        verb.run(inputs, place)
    calls, whole = faults.seen, verb.left(place)
    there = plain(names(place))
    shutil.rmtree(place)
    for i in range(number):
        first, last = i * calls // number, (i + 1) * calls // number
        at = int(random.integers(first, max(last, first + 1))) + 1
        code, lasting = KINDS[random.integers(len(KINDS))]
        place.mkdir()
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        wrong = []
        error = struck(verb, inputs, place, faults, (at, code, lasting))
        call = faults.struck.replace(str(place), "")
        if call:
            wrong += judged(error, code, place)
            wrong += left_behind(verb, place, whole, error)
            wrong += again(verb, inputs, place, whole, there)
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(place)
        yield {
            "at": f"{at} of {calls}",
            "call": call,
            "fault": NAMES[code],
            "said": "" if error is None else f"{type(error).__name__}: {error}",
            "wrong": wrong,
        }


def struck(verb, inputs, place, faults, how):
    """Run with a fault; the error it ended with, or None."""
    try:
        with faults.armed(place, *how):
            verb.run(inputs, place)
    except BaseException as error:
        return error
    return None


def judged(error, code, place):
    """What is wrong with an error: it must be of a kind shown as one line, and say where."""
    if error is None or (code == CTRL_C and isinstance(error, KeyboardInterrupt)):
        return []
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error, SAID):
        return [f"raised {text}", "".join(traceback.format_exception(error))[-3000:]]
    wrong = [] if str(place) in text else [f"does not say where: {text}"]
    return wrong + ([f"is no clear message: {text}"] if "\n" in text or len(text) > 600 else [])


def left_behind(verb, place, whole, error):
    """What is wrong with the output: it must be absent, or (but for a run's) all there."""
    try:
        left = verb.left(place)
    except Exception as damage:
        return [f"left damaged: {type(damage).__name__}: {damage}"]
    if left is None and error is None:
        return ["reported no error, and left nothing"]
    partly = left is not None and verb.out == "run" and error is not None
    return [] if left is None or partly else differences(left, whole)


def again(verb, inputs, place, whole, there):
    """What is wrong when the same is called again."""
    if verb.out != "run" and (place / verb.out).exists():
        return []  # it was done, and calling again would be refused
    try:
        verb.run(inputs, place)
        left = verb.left(place)
    except BaseException as error:
        return [f"again: {''.join(traceback.format_exception(error))[-3000:]}"]
    wrong = [f"again: {text}" for text in differences(left, whole)]
    now = plain(names(place))
    return wrong + [f"again: also left {n}" for n in now if n not in there]


def plain(found):
    """Names without those that TensorStore draws."""
    return [name for name in found if "/d/" not in name]


def differences(left, whole):
    """Names of what differs."""
    return [f"{k} differs" for k in sorted({*left, *whole}) if left.get(k) != whole.get(k)]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
