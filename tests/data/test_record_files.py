import queue
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from jaxcell.data.record_files import RecordFiles

CELLS = 53


def records():
    return [b"cell %d " % i * (1 + i % 7) for i in range(CELLS)]


BOUNDS = {1: (), 5: (1, 9, 10, 40), 53: tuple(range(1, CELLS))}  # first cells of the other files


@pytest.fixture(params=[1, 5, CELLS])
def sizes(request, tmp_path):
    """{file in tmp_path: its records}."""
    number = request.param
    made = [f"train-{i:05}-of-{number:05}.array_record" for i in range(number)]
    bounds = (0, *BOUNDS[number], CELLS)
    for name, a, b in zip(made, bounds[:-1], bounds[1:], strict=True):
        write(tmp_path / name, records()[a:b])
    return dict(zip(made, np.diff(bounds).tolist(), strict=True))


def write(path, found):
    writer = ArrayRecordWriter(str(path), "group_size:1,zstd")
    for record in found:
        writer.write(record)
    writer.close()


@pytest.mark.parametrize("at_once", [1, 4])
def test_any_positions_come_in_the_order_asked_for(sizes, tmp_path, at_once):
    read = RecordFiles(lambda name: str(tmp_path / name), sizes, at_once).read
    asked = np.random.default_rng(0).integers(0, CELLS, 200)  # with repetitions
    assert read(asked) == [records()[i] for i in asked]
    assert read(np.arange(CELLS)) == records()
    assert read([]) == []
    assert read([CELLS - 1, 0]) == [records()[-1], records()[0]]


def test_only_the_files_of_the_cells_asked_for_are_opened(sizes, tmp_path):
    opened = []

    def path(name):
        opened.append(name)
        return str(tmp_path / name)

    files = RecordFiles(path, sizes)
    assert opened == []
    for _ in range(2):
        files.read([0, 0])
    assert opened == list(sizes)[:1]


def test_threads_read_the_same_and_share_readers(sizes, tmp_path):
    opened = queue.SimpleQueue()

    def path(name):
        opened.put(name)
        return str(tmp_path / name)

    files = RecordFiles(path, sizes)
    asked = [np.random.default_rng(i).integers(0, CELLS, 40) for i in range(64)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(files.read, asked))
    assert found == [[records()[i] for i in one] for one in asked]
    assert sorted(opened.get() for _ in range(opened.qsize())) == list(sizes)


def test_what_is_not_there_is_refused(sizes, tmp_path):
    def path(name):
        return str(tmp_path / name)

    for wrong in (-1, CELLS):
        with pytest.raises(ValueError, match=f"there are {CELLS}"):
            RecordFiles(path, sizes).read([wrong])
    wrong = {name: size + 1 for name, size in sizes.items()}
    with pytest.raises(ValueError, match=r"00000-of.*holds \d+ records, expected \d+"):
        RecordFiles(path, wrong).read([0])


def test_files_of_unknown_sizes_are_counted(sizes, tmp_path):
    files = RecordFiles(lambda name: str(tmp_path / name), dict.fromkeys(sizes))
    assert files.read(np.arange(CELLS)[::-1]) == records()[::-1]


def test_a_damaged_record_spoils_no_other(tmp_path):
    name = "train-00000-of-00001.array_record"
    noise = [np.random.default_rng(i).bytes(5000) for i in range(40)]

    write(tmp_path / name, noise)
    content = (tmp_path / name).read_bytes()
    at = content.index(noise[20][:64])
    (tmp_path / name).write_bytes(content[: at + 9] + b"\0\1\2" + content[at + 12 :])
    files = RecordFiles(lambda name: str(tmp_path / name), {name: 40})
    assert files.read([3]) == [noise[3]]
    for _ in range(3):
        with pytest.raises(RuntimeError, match="hash mismatch"):
            files.read([20])
        assert files.read([19, 21]) == [noise[19], noise[21]]
