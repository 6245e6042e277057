import queue
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from jaxcell.data.record_files import RecordFiles

CELLS = 53


def records():
    return [b"cell %d " % i * (1 + i % 7) for i in range(CELLS)]


@pytest.fixture(params=[1, 5, CELLS])
def names(request, tmp_path):
    """Names of files in tmp_path, filled as the writer fills them."""
    number = request.param
    made = [f"train-{i:05}-of-{number:05}.array_record" for i in range(number)]
    writers = [ArrayRecordWriter(str(tmp_path / name), "group_size:1,zstd") for name in made]
    for i, record in enumerate(records()):
        writers[i * number // CELLS].write(record)
    for writer in writers:
        writer.close()
    return made


@pytest.mark.parametrize("at_once", [1, 4])
def test_any_positions_come_in_the_order_asked_for(names, tmp_path, at_once):
    read = RecordFiles(lambda name: str(tmp_path / name), names, CELLS, at_once).read
    asked = np.random.default_rng(0).integers(0, CELLS, 200)  # with repetitions
    assert read(asked) == [records()[i] for i in asked]
    assert read(np.arange(CELLS)) == records()
    assert read([]) == []
    assert read([CELLS - 1, 0]) == [records()[-1], records()[0]]


def test_only_the_files_of_the_cells_asked_for_are_opened(names, tmp_path):
    opened = []

    def path(name):
        opened.append(name)
        return str(tmp_path / name)

    files = RecordFiles(path, names, CELLS)
    assert opened == []
    for _ in range(2):
        files.read([0, 1 if len(names) == 1 else 0])
    assert opened == names[:1]


def test_threads_read_the_same_and_share_readers(names, tmp_path):
    opened = queue.SimpleQueue()

    def path(name):
        opened.put(name)
        return str(tmp_path / name)

    files = RecordFiles(path, names, CELLS)
    asked = [np.random.default_rng(i).integers(0, CELLS, 40) for i in range(64)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(files.read, asked))
    assert found == [[records()[i] for i in one] for one in asked]
    assert sorted(opened.get() for _ in range(opened.qsize())) == names


def test_what_is_not_there_is_refused(names, tmp_path):
    def path(name):
        return str(tmp_path / name)

    for wrong in (-1, CELLS):
        with pytest.raises(ValueError, match=f"there are {CELLS}"):
            RecordFiles(path, names, CELLS).read([wrong])
    with pytest.raises(ValueError, match="holds .* records, expected"):
        RecordFiles(path, names, CELLS + 2 * len(names)).read(np.arange(CELLS))


def test_a_damaged_record_spoils_no_other(tmp_path):
    name = "train-00000-of-00001.array_record"
    noise = [np.random.default_rng(i).bytes(5000) for i in range(40)]

    def write(where):
        writer = ArrayRecordWriter(str(where), "group_size:1,zstd")
        for record in noise:
            writer.write(record)
        writer.close()

    write(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    at = content.index(noise[20][:64])
    (tmp_path / name).write_bytes(content[: at + 9] + b"\0\1\2" + content[at + 12 :])
    files = RecordFiles(lambda name: str(tmp_path / name), [name], 40)
    assert files.read([3]) == [noise[3]]
    for _ in range(3):
        with pytest.raises(RuntimeError, match="hash mismatch"):
            files.read([20])
        assert files.read([19, 21]) == [noise[19], noise[21]]
