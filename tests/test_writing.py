"""Files and folders are there whole or not at all; a disk's errors name the path and the room."""

import errno
import os

import anndata
import numpy as np
import pytest

from jaxcell import writing
from jaxcell.writing import DiskError, hdf5_file, new_file, whole_file, whole_folder

GONE = 2**22 + 1  # no process has such a number


def inside(context, do):
    """Do something with what a context gives."""
    with context as given:
        do(given)


def raising(error):
    """What raises it, whatever it is given."""

    def do(_):
        raise error

    return do


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("RESOURCE_EXHAUSTED: write() failed: No space left on device; writing /x"),
        ValueError("Error writing local file: No space left on device [os_error_code='28']"),
        OSError("Can't write (file write failed, errno = 28, 'No space left on device')"),
    ],
)
def test_a_full_disk_however_it_is_told(error, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "room", lambda path: 12_345)
    with pytest.raises(DiskError) as e:
        inside(writing.writing(tmp_path / "x", needs=2_500_000), raising(error))
    assert str(e.value) == (
        f"{tmp_path}/x: cannot be written: No space left on device; 12.3 kB are free there, and "
        "about 2.5 MB are needed. Make room, and give the same command again"
    )
    assert e.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such gene"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        PermissionError("a.h5ad cannot be read: Permission denied"),
        KeyError("x"),
    ],
)
def test_other_errors_pass(error, tmp_path):
    with pytest.raises(type(error)) as found, writing.writing(tmp_path):
        raise error
    assert found.value is error


def test_an_error_of_reading_says_what_was_read(tmp_path):
    error = RuntimeError("read() failed: Input/output error; reading /atlas/shard")
    with pytest.raises(DiskError, match=r"\(read\(\) failed: Input/output error; reading /atlas/s"):
        inside(writing.writing(tmp_path), raising(error))


def test_a_file_keeps_its_old_content_until_the_new_is_whole(tmp_path):
    path = tmp_path / "a" / "x"
    writing.write_text(path, "old")

    def half(partial):
        partial.write_text("new")
        raise FULL

    with pytest.raises(DiskError):
        inside(whole_file(path), half)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["x"]


def test_what_killed_processes_left_goes_and_that_of_others_stays(tmp_path):
    machine = os.uname().nodename
    left = f"x.{machine}-{GONE}.partial"
    others = (f"x.{machine}-{os.getppid()}.partial", f"x.elsewhere-{GONE}.partial")
    (tmp_path / left).mkdir()
    for name in others:
        (tmp_path / name).write_text("")
    writing.write_text(tmp_path / "x", "text")
    assert sorted(os.listdir(tmp_path)) == sorted(["x", *others])


def test_a_new_file_takes_nobody_s_place(tmp_path):
    def slow(partial):
        partial.write_text("mine")
        (tmp_path / "x").write_text("another's")

    with pytest.raises(FileExistsError, match="appeared while"):
        inside(new_file(tmp_path / "x"), slow)
    assert (tmp_path / "x").read_text() == "another's"
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_is_whole_or_not_there(tmp_path):
    def half(folder):
        (folder / "a").write_text("half")
        raise KeyError

    with pytest.raises(KeyError):
        inside(whole_folder(tmp_path / "x"), half)
    assert os.listdir(tmp_path) == []
    inside(whole_folder(tmp_path / "x"), lambda folder: (folder / "a").write_text("all"))
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o777 & ~_umask()
    with pytest.raises(DiskError, match=r"y: cannot be .* are needed"):
        inside(whole_folder(tmp_path / "y", needs=2**60), raising(KeyError))


def _umask():
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (123_456, "123 kB"), (2e12, "2.0 TB")],
)
def test_sizes(number, text):
    assert writing.size(number) == text


def test_hdf5_holds_what_anndata_writes(tmp_path):
    """Without caches it is the same file, but for where things lie."""
    adata = anndata.AnnData(np.eye(3, dtype=np.float32), uns={"a": "text", "b": [1.0, 2.0]})
    with hdf5_file(tmp_path / "x", "w") as file:
        anndata.io.write_elem(file, "/", adata)
    with hdf5_file(tmp_path / "x", "r+") as file:
        anndata.io.write_elem(file["obsm"], "more", np.arange(6).reshape(3, 2))
    found = anndata.read_h5ad(tmp_path / "x")
    np.testing.assert_array_equal(found.X, adata.X)
    assert (found.uns["a"], list(found.uns["b"])) == ("text", [1.0, 2.0])
    assert found.obsm["more"].tolist() == [[0, 1], [2, 3], [4, 5]]
