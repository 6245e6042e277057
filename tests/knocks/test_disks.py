"""A disk that is full, and one that is read-only: each verb says so, and goes on after."""

import re

import pytest

from jaxcell.writing import DiskError
from tests.knocks.conftest import make_read_only
from tests.knocks.verbs import VERBS
from tests.knocks.worker import differences

QUICK = [
    pytest.param("train", marks=pytest.mark.slow),
    *("prepare", "embed", "convert"),
    *(pytest.param(f"convert --to {to}", marks=pytest.mark.slow) for to in ("torch", "hub-folder")),
]
FULL = re.compile(r"cannot be written: No space left on device; [\d.]+ [kM]?B? ?(bytes )?are free")


def fill(disk, left):
    """Take all room of a disk but so many bytes."""
    (disk / "filler").unlink(missing_ok=True)
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - left))


@pytest.mark.parametrize("name", QUICK)
def test_a_full_disk(name, disk, inputs, tmp_path):
    verb, place, other = VERBS[name], disk / "place", tmp_path / "other"
    place.mkdir(), other.mkdir()
    verb.run(inputs, other)
    whole, said = verb.left(other), []
    for left in (0, 2**13, 2**15, 2**16, 2**17, 2**18, 2**19, 2**20):
        fill(disk, left)
        try:
            verb.run(inputs, place)
            break
        except DiskError as error:
            said.append(str(error))
        verb.left(place)  # nothing damaged
    assert len(said) >= 2
    for text in said:
        assert text.startswith(str(place))
        assert FULL.search(text), text
        assert text.endswith("Make room, and give the same command again")
    if name in ("embed", "convert"):
        assert "are needed" in said[0]
    (disk / "filler").unlink()
    if not (place / verb.out).exists() or name == "train":
        verb.run(inputs, place)
    assert not differences(verb.left(place), whole)


@pytest.mark.parametrize("name", QUICK)
def test_a_read_only_disk(name, disk, inputs):
    make_read_only(disk)
    with pytest.raises(DiskError, match=r"cannot be written: Read-only file system\. Name anoth"):
        VERBS[name].run(inputs, disk)
    assert list(disk.iterdir()) == []
