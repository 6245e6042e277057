"""The disk fails at any call of prepare, train, embed and convert: a message, nothing damaged.

After each fault the output is absent or whole, and the same call gives what an undisturbed one
does. The verbs run in a process of their own, because its C library is not the usual one.
"""

import json

import pytest

from tests.knocks.faults import start

# The share of each kind of fault that has to be told of at least. A disk that stays full nobody
# writes past; one failed call may be made good (a lock that is removed later), and Ctrl-C may come
# within what cannot raise.
TOLD = {"ENOSPC": 0.95, "EIO": 0.8, "Ctrl-C": 0.8}
CONVERT = ("convert", "convert --to torch", "convert --to hub-folder")


def strike(library, folder, *shares, seed=0):
    """What was found of each try; shares: {verb: tries} of each of some processes, side by side."""
    started = []
    for i, asked in enumerate(shares):
        (folder / f"{i}").mkdir()
        started.append(start(library, "worker", folder / f"{i}", seed, json.dumps(asked)))
    found = []
    for i, one in enumerate(started):
        said = one.communicate()[1]
        assert one.returncode == 0, said[-5000:]
        lines = (folder / f"{i}" / "found.jsonl").read_text().splitlines()
        found += [json.loads(line) for line in lines]
    return found


def check(found, asked):
    """Each verb was struck about as often as asked, each kind was told of, nothing was wrong."""
    for verb, number in asked.items():
        tries = [one for one in found if one["verb"] == verb]
        struck = [one for one in tries if one["call"]]
        # How many calls training makes differs a little, so the last ones may not come.
        assert len(tries) == number
        assert len(struck) >= 0.9 * number
        told = [one for one in struck if one["said"]]
        assert len(told) >= 0.6 * number, f"{verb}: {len(told)} of {len(struck)} were told of"
    for kind, share in TOLD.items():
        # Training takes note of Ctrl-C, and saves before it ends without an error.
        told = [
            bool(one["said"])
            for one in found
            if one["call"] and one["fault"] == kind and (kind != "Ctrl-C" or one["verb"] != "train")
        ]
        assert told, f"no {kind} was tried"
        assert sum(told) >= share * len(told), f"{kind}: {sum(told)} of {len(told)} were told of"
    wrong = [one for one in found if one["wrong"]]
    assert not wrong, json.dumps(wrong[:5], indent=1)


def test_a_dozen_faults(library, tmp_path):
    """Of the verbs for which nothing is compiled."""
    asked = {"prepare": 6, CONVERT[1]: 3, CONVERT[2]: 3}
    check(strike(library, tmp_path, asked, seed=1), asked)


@pytest.mark.slow
def test_two_hundred_faults(library, tmp_path):
    """50 of each verb, at calls drawn evenly over all that it makes."""
    train, others = {"train": 50}, {"prepare": 50, "embed": 50}
    others |= dict(zip(CONVERT, (18, 16, 16), strict=True))
    check(strike(library, tmp_path, train, others), {**train, **others})
