"""Kill a verb at one of its calls: `python -m tests.knocks.killed FOLDER VERB SEED KILLS`.

The first start makes inputs and an undisturbed output. Each later one calls the verb again where
the one before was killed, compares, and is killed itself at another call, until there have been
enough of them; then it ends, and FOLDER/found.json has what was wrong.
"""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np

from tests.knocks.faults import KILL, Faults
from tests.knocks.verbs import VERBS, compute_once, make_inputs, names
from tests.knocks.worker import again, plain


def main(folder, name, seed, kills):
    """One start of the process."""
    folder, verb, kills = Path(folder), VERBS[name], int(kills)
    place, inputs, faults = folder / "place", folder / "inputs", Faults()
    if not inputs.exists():
        inputs.mkdir()
        make_inputs(inputs, [name])
        _first(verb, folder, inputs, place, faults)
    known = pickle.loads((folder / "known").read_bytes())
    found = json.loads((folder / "found.json").read_text())
    compute_once()
    if place.exists():
        found.append(again(verb, inputs, place, known["whole"], known["there"]))
        (folder / "found.json").write_text(json.dumps(found))
        shutil.rmtree(place)
    if len(found) == kills:
        return
    random = np.random.default_rng([int(seed), *name.encode(), len(found)])
    place.mkdir()
    # Not the very last ones, which a run of fewer calls would not reach.
    with faults.armed(place, int(random.integers(1, 0.9 * known["calls"])), KILL):
        verb.run(inputs, place)
    raise AssertionError("lived on")


def _first(verb, folder, inputs, place, faults):
    place.mkdir()
    with faults.armed(place):
        verb.run(inputs, place)
    known = {"calls": faults.seen, "whole": verb.left(place), "there": plain(names(place))}
    (folder / "known").write_bytes(pickle.dumps(known))
    (folder / "found.json").write_text("[]")
    shutil.rmtree(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
