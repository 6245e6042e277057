"""A verb on a disk that is full but for some bytes, and fuller room each time: what it says.

Also a program, `python -m tests.knocks.filled DISK INPUTS VERB`: what is said goes to said.json in
the working folder, all that is printed to stderr.
"""

import json
import sys
from pathlib import Path

from jaxcell.training import saved_steps
from jaxcell.writing import DiskError
from tests.knocks.verbs import VERBS, compute_once
from tests.knocks.worker import differences


def fill(disk, left):
    """Take all room of a disk but so many bytes."""
    (disk / "filler").unlink(missing_ok=True)
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            file.truncate(max(0, file.tell() - left))


def messages(name, disk, inputs, other):
    """What a verb says at each try until it goes through; asserts that it then is as elsewhere.

    other : folder on another disk
    """
    verb, place, said = VERBS[name], disk / "place", []
    place.mkdir(), other.mkdir()
    verb.run(inputs, other)
    for left in (0, 2**13, 2**15, 2**16, 2**17, 2**18, 2**19, 2**20):
        fill(disk, left)
        try:
            verb.run(inputs, place)
            break
        except DiskError as error:
            said.append(str(error))
        verb.left(place)  # nothing is damaged
    (disk / "filler").unlink()
    if not (place / verb.out).exists() or name == "train":
        verb.run(inputs, place)
    assert not differences(verb.left(place), verb.left(other))
    return said


if __name__ == "__main__":
    compute_once()
    saved_steps.check_room = lambda *_: None  # as if the disk filled up while the run computes
    disk, inputs = map(Path, sys.argv[1:3])
    found = messages(sys.argv[3], disk, inputs, Path("other").absolute())
    Path("said.json").write_text(json.dumps(found))
