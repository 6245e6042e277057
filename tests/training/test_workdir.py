"""The lock of a run's folder: one holder, and nothing of what is at work there is removed."""

import threading

import pytest

from jaxcell.training.workdir import lock


def test_two_that_start_at_once(tmp_path):
    """One holds a new folder; the other is refused, and leaves the folder to it."""

    def enter(folder, begin, end):
        begin.wait()
        try:
            with lock(folder):
                end.wait()  # until the other was refused
                found.append((folder / ".lock").read_text().startswith("process "))
        except ValueError as error:
            found.append(str(error))
            end.wait()

    for i in range(40):
        found, given = [], (tmp_path / f"run{i}", threading.Barrier(2), threading.Barrier(2))
        two = [threading.Thread(target=enter, args=given) for _ in range(2)]
        for one in two:
            one.start()
        for one in two:
            one.join(20)
        assert found.count(True) == 1
        (refused,) = (text for text in found if text is not True)
        assert "another run (" in refused


def test_what_is_refused_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), lock(tmp_path / "run"):
        raise RuntimeError("no room, say")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(RuntimeError), lock(tmp_path):
        raise RuntimeError("no room, say")
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_a_lock_whose_file_was_removed_is_none(tmp_path):
    """As by a run that was refused: a later one makes the folder anew, and holds that."""
    with lock(tmp_path / "run"):
        (tmp_path / "run" / ".lock").unlink()
        with lock(tmp_path / "run"):
            assert (tmp_path / "run" / ".lock").exists()
