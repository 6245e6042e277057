"""Names with spaces and signs, links, and two at the same work: a message, or all as elsewhere."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from jaxcell import embedding, results
from jaxcell.conversion.convert import convert
from jaxcell.data.prepare import prepare
from jaxcell.training import loop
from jaxcell.training.workdir import lock
from tests.conftest import ROOT
from tests.knocks.verbs import OPTIONS, VERBS, names, tiny

pytestmark = pytest.mark.slow
VERB = ("train", "prepare", "embed", "convert")


@pytest.mark.parametrize("name", VERB)
@pytest.mark.parametrize("folder", ["Zwei Wörter, 日本 α", "a[0-9] *?{x} #1 %20 'q'", "-x=y:z"])
def test_names_with_spaces_and_signs(name, folder, inputs, tmp_path):
    """Of the inputs and of the output."""
    mine, verb = tmp_path / folder / "in puts", VERBS[name]
    shutil.copytree(inputs, mine)
    (tmp_path / folder / "out").mkdir()
    if name == "train" and "[" in folder:
        with pytest.raises(ValueError, match=r"found a \[ in the path.*name another folder"):
            verb.run(mine, tmp_path / folder / "out")
        return
    verb.run(mine, tmp_path / folder / "out")
    assert verb.left(tmp_path / folder / "out")
    assert {n.split("/")[0] for n in names(tmp_path / folder / "out")} == {verb.out}


@pytest.mark.parametrize("name", VERB)
def test_links(name, inputs, tmp_path):
    """Inputs by a link; a linked folder holds the output; a link in the output's place."""
    verb, place, linked = VERBS[name], tmp_path / "place", tmp_path / "linked"
    place.mkdir()
    linked.symlink_to(place)
    (tmp_path / "inputs").symlink_to(inputs)
    verb.run(tmp_path / "inputs", linked)
    assert verb.left(place)
    other = tmp_path / "other"
    other.mkdir()
    (other / verb.out).symlink_to(tmp_path / "nowhere" / "at all")
    with pytest.raises((ValueError, OSError), match=str(other / verb.out)):
        verb.run(inputs, other)
    assert names(other) == [verb.out]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", VERB)
def test_a_circle_of_links(name, inputs, tmp_path):
    verb, place = VERBS[name], tmp_path / "place"
    place.mkdir()
    (place / verb.out).symlink_to(place / verb.out)
    with pytest.raises((ValueError, OSError), match=str(place / verb.out)):
        verb.run(inputs, place)
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    c = tiny(inputs)
    c.data.store = str(circle)
    calls = {
        "prepare": lambda: prepare(tmp_path / "x", circle, **OPTIONS),
        "train": lambda: loop.train(c, tmp_path / "x"),
        "embed": lambda: embedding.embed(circle, inputs / "fresh", out=tmp_path / "x.h5ad"),
        "convert": lambda: convert(circle, tmp_path / "x"),
    }
    with pytest.raises((ValueError, OSError), match=f"{circle}"):
        calls[name]()
    assert not (tmp_path / "x").exists()


def test_a_run_in_a_linked_workdir(inputs, tmp_path):
    (tmp_path / "big disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "big disk")
    VERBS["train"].run(inputs, tmp_path)
    assert (tmp_path / "run").is_symlink()
    assert VERBS["train"].content(tmp_path / "big disk") == VERBS["train"].left(tmp_path)


def test_a_second_run_in_a_workdir_is_kept_out(inputs, tmp_path):
    with lock(tmp_path / "run"), pytest.raises(ValueError, match=r"another run \(process \d+ on"):
        VERBS["train"].run(inputs, tmp_path)
    assert names(tmp_path / "run") == [".lock"]


def test_an_output_that_appears_meanwhile_stays(inputs, tmp_path, monkeypatch):
    """Of embed; of prepare and convert see their own tests."""
    add = results._add_to_file

    def appear(*given):
        (tmp_path / "out.h5ad").write_text("of another")
        add(*given)

    monkeypatch.setattr(results, "_add_to_file", appear)
    with pytest.raises(FileExistsError, match=r"out\.h5ad: appeared while it was being made"):
        VERBS["embed"].run(inputs, tmp_path)
    assert names(tmp_path) == ["out.h5ad"]
    assert (tmp_path / "out.h5ad").read_text() == "of another"


def test_two_at_once(inputs, tmp_path):
    """One output, two processes: one is done, the other says why it is not."""
    given = {
        "prepare": ["prepare", "store", inputs / "csr.h5ad", inputs / "csc.h5ad"],
        "embed": ["embed", inputs / "csr.h5ad", "out.h5ad", "--checkpoint", inputs / "fresh"],
        "convert": ["convert", inputs / "torch", "out"],
    }
    for name, argv in given.items():
        place = tmp_path / name
        place.mkdir()
        two = [
            subprocess.Popen(
                [sys.executable, "-m", "jaxcell.cli", *map(str, argv)],
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        said = [one.communicate()[1] for one in two]
        assert sorted(one.returncode for one in two) == [0, 1], said
        (lost,) = (text for one, text in zip(two, said, strict=True) if one.returncode)
        line = lost.strip().splitlines()[-1]
        assert re.match("error: .*(appeared while|is being prepared by|exists already)", line), lost
        assert VERBS[name].left(place)
        assert {n.split("/")[0] for n in names(place)} == {VERBS[name].out}
