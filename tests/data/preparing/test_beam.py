"""The blocks as Beam pipelines give what a single process gives."""

import builtins
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell import cli
from jaxcell.data.prepare import prepare
from jaxcell.data.preparing import beam, blocks
from tests.data.conftest import cells, counts
from tests.data.preparing.test_unfinished import files

OPTIONS = {"hold_out_fraction": 0.3, "labels": ["type"], "shards": 5, "progress": False}


def in_turn(run):
    """An engine that does what Beam's workers do, in this process."""

    def engine(work, tasks, advance=None):
        place = beam.lay_down(work)
        for task in reversed(pickle.loads(pickle.dumps(tasks))):
            beam.do(str(place), task)
            run.append(task)
        beam.say(place)

    return engine


@pytest.fixture
def sources(h5ad):
    merged = cells(sp.csc_matrix(counts(80)))
    return [h5ad(merged, "a.h5ad"), h5ad(cells(sp.csr_matrix(counts(40, seed=1))), "b.h5ad")]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(blocks.rows, "__defaults__", (16,))


def test_what_is_laid_down_is_enough_for_a_worker(sources, tmp_path, monkeypatch, small):
    """In any order, and with nothing of this process but the tasks and the folder."""
    options = {**OPTIONS, "measured_by": "batch", "min_genes": 2, "min_cells": 3}
    one = prepare(tmp_path / "one", sources, **options)
    done = []
    monkeypatch.setattr("jaxcell.data.prepare._engine", lambda beam: in_turn(done))
    monkeypatch.chdir(tmp_path)
    two = prepare("two", ["a.h5ad", "b.h5ad"], beam="", **options)
    assert len(done) == 5 + 3 + 5
    assert all(len(pickle.dumps(task)) < 1000 for task in done)
    assert one.content_hash == two.content_hash
    ours, theirs = files(one), files(two)
    named = {"store.json", "datasets.json"}  # they hold the paths that were given
    assert {str(p) for p in ours if ours[p] != theirs[p]} <= named


def test_what_a_worker_refuses_and_warns_of_is_said_here(h5ad, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcell.data.prepare._engine", lambda beam: in_turn([]))
    with pytest.raises(ValueError, match=r"log\.h5ad, X: .* looks like log1p of counts"):
        prepare(tmp_path / "s", h5ad(cells(np.log1p(counts())), "log.h5ad"), **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["log.h5ad"]
    path = h5ad(cells((counts(600) > 0).astype(np.float32)), "binary.h5ad")
    with pytest.warns(UserWarning, match=r"binary\.h5ad, X: holds only 0 and 1"):
        prepare(tmp_path / "s", path, **OPTIONS)


def test_cells_in_memory_cannot_be_sent(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcell.data.prepare._engine", lambda beam: in_turn([]))
    with pytest.raises(ValueError, match="AnnData is in the memory of this process .* as h5ad"):
        prepare(tmp_path / "s", cells(), **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_raised_whatever_else_was_said_of_its_source(tmp_path):
    (tmp_path / "said-1").write_text('[0, null, ["looks binarised"]]')
    (tmp_path / "said-2").write_text('[0, ["FileNotFoundError", "it is gone"], []]')
    with (
        pytest.warns(UserWarning, match="looks binarised"),
        pytest.raises(FileNotFoundError, match="it is gone"),
    ):
        beam.say(tmp_path)


def test_without_beam_the_extra_is_named(h5ad, tmp_path, monkeypatch):
    imported = builtins.__import__

    def absent(name, *more):
        if name.startswith("apache_beam"):
            raise ImportError(name)
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'jaxcell\[beam\]'"):
        prepare(tmp_path / "s", h5ad(), beam="", **OPTIONS)
    with pytest.raises(SystemExit, match=r"error: .*jaxcell\[beam\]"):
        cli.main(["prepare", str(tmp_path / "s"), str(h5ad()), "--beam-options=--runner=Flink"])


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(sources, tmp_path, small):
    pytest.importorskip("apache_beam", reason="the extra beam is not installed")
    one = prepare(tmp_path / "one", sources, **OPTIONS)
    options = "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
    two = prepare(tmp_path / "two", sources, beam=options, **OPTIONS)
    assert files(two) == files(one)
    with pytest.raises(ValueError, match="none of the 80 cells has 9 genes > 0"):
        prepare(tmp_path / "three", sources, beam=options, min_genes=9, **OPTIONS)
    assert not (tmp_path / "three").exists()
