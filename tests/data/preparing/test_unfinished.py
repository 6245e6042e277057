"""A prepare that is stopped goes on with the same call; others are kept out or refused."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.prepare import prepare
from jaxcell.data.preparing import blocks, decisions, shards, unfinished
from jaxcell.data.preparing.survey import Surveying
from jaxcell.data.preparing.writer import Writing
from jaxcell.data.verification import verify
from jaxcell.writing import whole_file
from tests.data.conftest import cells, counts

OPTIONS = {"hold_out_fraction": 0.3, "labels": ["type"], "shards": 4, "progress": False}


@pytest.fixture
def work(tmp_path):
    return tmp_path / ".store.unfinished"


@pytest.fixture
def small(monkeypatch):
    """Blocks of 7 cells."""
    monkeypatch.setattr(blocks.rows, "__defaults__", (7,))


def stop_at(monkeypatch, kind, at, error=KeyboardInterrupt):
    """Raise in the task of a kind that comes at a place."""
    do, done = kind.do, []

    def stopping(self, *args):
        done.append(1)
        if len(done) == at:
            raise error
        do(self, *args)

    monkeypatch.setattr(kind, "do", stopping)
    return done


def files(store):
    return {p.relative_to(store.path): p.read_bytes() for p in store.path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("kind", "at"), [(Surveying, 3), (Writing, 2), (Writing, 4)])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix])
def test_what_is_done_is_not_done_again(
    h5ad, tmp_path, monkeypatch, small, work, capsys, kind, at, form
):
    path = h5ad(form(counts()))
    whole = prepare(tmp_path / "whole", path, **OPTIONS)
    with monkeypatch.context() as m:
        stop_at(m, kind, at)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", path, **OPTIONS)
    assert f"kept in {work}: the same prepare will go on" in capsys.readouterr().out
    assert not (tmp_path / "store").exists()
    surveyed, written = (stop_at(monkeypatch, k, 0) for k in (Surveying, Writing))
    again = prepare(tmp_path / "store", path, **OPTIONS)
    assert f"going on with {work}" in capsys.readouterr().out
    first = at - 1
    assert len(surveyed) == (5 - first if kind is Surveying else 0)
    assert len(written) == (4 - first if kind is Writing else 4)
    assert again.content_hash == whole.content_hash
    assert files(again) == files(whole)
    assert not work.exists()


def test_genes_that_were_chosen_are_not_chosen_again(h5ad, tmp_path, monkeypatch):
    path, options = h5ad(cells(counts(200))), {**OPTIONS, "hvg": 4, "hvg_flavor": "bioformer"}
    whole = prepare(tmp_path / "whole", path, **options)
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", path, **options)
    monkeypatch.setattr(decisions, "choose", None)
    assert files(prepare(tmp_path / "store", path, **options)) == files(whole)


def test_genes_are_chosen_again_where_other_cells_are_for_training(h5ad, tmp_path, monkeypatch):
    """As where columns of a SOMA experiment, which no stamp is about, were written anew."""
    path, options = h5ad(cells(counts(200))), {**OPTIONS, "hvg": 4, "hvg_flavor": "bioformer"}
    whole, split = prepare(tmp_path / "whole", path, **options), decisions.split_cells
    with monkeypatch.context() as m:
        m.setattr(decisions, "split_cells", lambda *v, **how: split(*v, **{**how, "seed": 5}))
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", path, **options)
    store = prepare(tmp_path / "store", path, **options)
    assert store.content_hash == whole.content_hash


def test_genes_are_chosen_again_where_batches_are_others(h5ad, tmp_path, monkeypatch):
    """As where a manifest's batches are labels, and their map was written anew."""
    h5ad(cells(counts(200)))
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nlabels: {batch: {map: map.tsv}}\nshards: 4\n"
        "hvg: {number: 4, batch: batch}\nsources: [{name: a, path: cells.h5ad}]\n"
    )
    asked = {"manifest": tmp_path / "mine.yaml", "data": tmp_path, "progress": False}
    chosen = []
    monkeypatch.setattr(
        decisions, "choose", lambda *a, f=decisions.choose, **k: chosen.append(1) or f(*a, **k)
    )
    (tmp_path / "map.tsv").write_text("x\tx\n")
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", **asked)
    (tmp_path / "map.tsv").write_text("a\tone\nb\tone\n")
    store = prepare(tmp_path / "store", **asked)
    assert len(chosen) == 2
    assert files(store) == files(prepare(tmp_path / "whole", **asked))


def test_files_held_out_are_told_and_are_part_of_the_request(h5ad, tmp_path, monkeypatch):
    files = [h5ad(cells(counts(200)), "a.h5ad"), h5ad(cells(counts(200, seed=5), seed=1), "b.h5ad")]
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", files, **OPTIONS)
    with pytest.raises(
        ValueError, match=r"another request: hold_out_file was \[\], is \['.*b.h5ad'"
    ):
        prepare(tmp_path / "store", files, hold_out_file=files[1], **OPTIONS)
    prepare(tmp_path / "store", files, **OPTIONS)
    store = prepare(tmp_path / "other", files[0], hold_out_file=files[1], **OPTIONS)
    options = json.loads((store.path / "store.json").read_text())["options"]
    assert options["hold_out_file"] == [str(files[1])]


def test_the_same_files_in_another_order_are_another_request(h5ad, tmp_path, monkeypatch, work):
    """What was found of the first would be taken for what is in the other, of as many cells."""
    files = [h5ad(cells(counts(200, seed=i), seed=i), f"{i}.h5ad") for i in range(2)]
    with monkeypatch.context() as m:
        stop_at(m, Writing, 1)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", files, **OPTIONS)
    with pytest.raises(ValueError, match=r"0\.h5ad was '1: 200 .*, is '2: 200 .*1\.h5ad was '2: "):
        prepare(tmp_path / "store", files[::-1], **OPTIONS)
    store = prepare(tmp_path / "store", files, **OPTIONS)
    assert store.content_hash == prepare(tmp_path / "whole", files, **OPTIONS).content_hash
    assert not work.exists()


def test_files_that_a_kill_left_truncated_are_written_again(h5ad, tmp_path, monkeypatch, work):
    path = h5ad()
    whole = prepare(tmp_path / "whole", path, **OPTIONS)
    with monkeypatch.context() as m:
        stop_at(m, Writing, 4)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", path, **OPTIONS)
    records = sorted((work / "store").glob("train-*"))
    records[0].write_bytes(records[0].read_bytes()[:-9])
    found = sorted((work / "results").glob("write-*"))
    found[1].write_bytes(found[1].read_bytes()[:-30])
    (work / "store" / "train-00002-of-00004.array_record.here-1.partial").write_bytes(b"half")
    written = stop_at(monkeypatch, Writing, 0)
    again = prepare(tmp_path / "store", path, **OPTIONS)
    assert len(written) == 3  # the two, and the one that was not done
    assert files(again) == files(whole)


def test_another_request_is_refused_and_harms_nothing(h5ad, tmp_path, monkeypatch, work):
    path = h5ad()
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", path, **OPTIONS)
    kept = sorted(work.rglob("*"))
    with pytest.raises(ValueError, match=r"another request: min_genes was 0, is 2\. Ask for the"):
        prepare(tmp_path / "store", path, min_genes=2, **OPTIONS)
    (tmp_path / "map.tsv").write_text("ENSG00000000001\tTP53\n")
    time.sleep(0.01)
    h5ad()  # written anew
    with pytest.raises(
        ValueError, match=r"another request: .*cells\.h5ad was '1: 30 cells, X, .* ns"
    ):
        prepare(tmp_path / "store", path, **OPTIONS)
    assert sorted(work.rglob("*")) == kept


def test_other_mitochondrial_genes_are_another_request(h5ad, tmp_path, monkeypatch, work):
    """By the gene map that names them, with the same genes and options otherwise."""
    ids = [f"ENSG{i:011}" for i in range(1, 9)]
    path = h5ad(cells(symbols=ids))
    options = {**OPTIONS, "max_mito": 0.9, "gene_map": tmp_path / "map.tsv"}

    def name(*symbols):
        lines = (f"{e}\t{s}\n" for e, s in zip(ids, symbols, strict=True))
        (tmp_path / "map.tsv").write_text("".join(lines))

    name("MT-ND1", *"ABCDEFG")
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", path, **options)
    name("MT-ND1", "MT-ND2", *"BCDEFG")
    with pytest.raises(ValueError, match=r"another request: .*cells\.h5ad was .*, mitochondrial "):
        prepare(tmp_path / "store", path, **options)
    name("MT-ND1", *"ABCDEFG")
    prepare(tmp_path / "store", path, **options)
    assert not work.exists()


def test_what_a_kill_after_the_last_step_left_is_removed(h5ad, tmp_path, monkeypatch, work):
    path = h5ad()
    with monkeypatch.context() as m:
        m.setattr(unfinished.shutil, "rmtree", lambda *args, **kwargs: None)
        store = prepare(tmp_path / "store", path, **OPTIONS)
    assert (work / "results").is_dir()
    made = files(store)
    with pytest.raises(
        FileExistsError, match=r"exists already, and is finished \(what a killed .*"
    ):
        prepare(tmp_path / "store", path, **OPTIONS)
    assert not work.exists()
    with pytest.raises(FileExistsError, match="exists already: remove it, or choose another"):
        prepare(tmp_path / "store", path, **OPTIONS)
    assert files(store) == made


def test_what_is_left_of_a_folder_that_was_being_removed_is_not_used(h5ad, tmp_path, work):
    """A kill amid the removal may take the request and leave results of it."""
    path = h5ad()
    whole = prepare(tmp_path / "whole", path, **OPTIONS)
    results = unfinished.KeptResults(work / "results")
    left = {"removed": np.ones(30, np.int8), "total": np.ones(30), "n_genes": np.ones(30, int)}
    results["survey-00000-000000000000"] = left
    store = prepare(tmp_path / "store", path, **OPTIONS)
    assert files(store) == files(whole)
    assert not work.exists()


def test_what_changed_in_memory_is_refused_too(tmp_path, monkeypatch):
    adata = cells()
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", adata, **OPTIONS)
    for change in ("obs", "X"):
        other = adata.copy()
        if change == "obs":
            other.obs["type"] = "NK"
        else:
            other.X[3, 3] += 1
        with pytest.raises(ValueError, match="another request: AnnData was '1: 30 cells, X, "):
            prepare(tmp_path / "store", other, **OPTIONS)
    store = prepare(tmp_path / "store", adata.copy(), **OPTIONS)
    assert files(store) == files(prepare(tmp_path / "whole", adata, **OPTIONS))


def test_blocks_of_another_plan_are_written_anew(tmp_path, monkeypatch):
    """Were it something that the request does not tell."""
    monkeypatch.setattr("jaxcell.data.prepare.request_of", lambda *args: {})
    adata = cells()
    with monkeypatch.context() as m:
        stop_at(m, Writing, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "store", adata, **OPTIONS)
    adata.obs["type"] = "NK"
    store = prepare(tmp_path / "store", adata, **OPTIONS)
    assert store.labels == {"type": ["NK"]}
    assert {p.name for p in store.path.glob("*.array_record")} <= set(store._files)
    assert set(store.index("train", "labels")[:, 0]) == {0}
    assert verify(store.path, progress=False) == []


def test_a_refusal_leaves_nothing_but_a_full_disk_does(h5ad, tmp_path, monkeypatch, small, work):
    matrix = counts()
    matrix[-1, -1] = 0.5
    with pytest.raises(ValueError, match="not integers"):
        prepare(tmp_path / "store", h5ad(matrix, "bad.h5ad"), **OPTIONS)
    assert not work.exists()
    stop_at(monkeypatch, Surveying, 4, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        prepare(tmp_path / "store", h5ad(), **OPTIONS)
    assert len(list((work / "results").glob("survey-*"))) == 3


def test_a_store_that_appeared_meanwhile_is_not_overwritten(h5ad, tmp_path, monkeypatch, work):
    close = shards.Shard.__exit__

    def appear(self, *error):
        (tmp_path / "store").mkdir(exist_ok=True)
        return close(self, *error)

    monkeypatch.setattr(shards.Shard, "__exit__", appear)
    with pytest.raises(FileExistsError, match=r"appeared while .* in .*unfinished/store"):
        prepare(tmp_path / "store", h5ad(), **OPTIONS)
    assert (work / "store" / "store.json").exists()


def test_a_second_process_is_kept_out_while_the_first_lives(h5ad, tmp_path, work):
    path = h5ad()
    work.mkdir()
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX);"
        "f.write('process 7 on there'); f.flush(); print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(work / "lock")], stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="is being prepared by process 7 on there; wait for"):
            prepare(tmp_path / "store", path, **OPTIONS)
        other.kill()
    prepare(tmp_path / "store", path, **OPTIONS)


@pytest.mark.parametrize(
    ("holder", "refused"),
    [
        ("process 7 on elsewhere", True),
        (f"process {os.getppid()} on {os.uname().nodename}", True),
        (f"process {2**22 + 1} on {os.uname().nodename}", False),
        ("", False),
    ],
)
def test_disks_without_locks(h5ad, tmp_path, monkeypatch, work, holder, refused):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    work.mkdir()
    (work / "lock").write_text(holder)
    if refused:
        with pytest.raises(ValueError, match=re.escape(f"was begun by {holder}, and these disks")):
            prepare(tmp_path / "store", h5ad(), **OPTIONS)
        assert (work / "lock").read_text() == holder
    else:
        prepare(tmp_path / "store", h5ad(), **OPTIONS)


def test_a_file_is_whole_or_not_there(tmp_path):
    def stop():
        with whole_file(tmp_path / "a" / "x") as path:
            path.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        stop()
    assert list((tmp_path / "a").iterdir()) == []


SLOW_WRITER = """
import sys, time
from jaxcell.data.preparing import blocks
from jaxcell.data.preparing import writer
from jaxcell.data.prepare import prepare
do = writer.Writing.do
def slow(self, *args):
    do(self, *args)
    print("done", flush=True)
    time.sleep(0.2)
writer.Writing.do = slow
prepare(sys.argv[1], sys.argv[2], hold_out_fraction=0.3, labels=["type"], shards=9, progress=False)
"""


@pytest.mark.slow
def test_killed_for_good_and_started_again(h5ad, tmp_path, work):
    path = h5ad(cells(sp.csr_matrix(counts(3000))))
    options = {**OPTIONS, "shards": 9}
    whole = prepare(tmp_path / "whole", path, **options)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SLOW_WRITER, str(tmp_path / "store"), str(path)]
    for killed in (2, 3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            seen = 0
            while seen < killed:
                seen += process.stdout.readline() == "done\n"
            process.send_signal(signal.SIGKILL)
        assert json.loads((work / "request.json").read_text())["shards"] == 9
    assert not (tmp_path / "store").exists()
    again = prepare(tmp_path / "store", path, **options)
    assert files(again) == files(whole)
    np.testing.assert_array_equal(
        again.read("train", range(50)).counts, whole.read("train", range(50)).counts
    )
