"""The record files of a split: the bytes of any of its cells, by position."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

# Nothing is read ahead, and no thread of the reader's own: one cell's place tells nothing of the
# next one's. Of 32 µs a cell, what its pool of threads costs was 13 (measured).
OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
BUFFER = 2**13  # bytes read at once, at least


class RecordFiles:
    """Random access to the records of one or more ArrayRecord files, in one line.

    A file is opened when its first record is read, or at once where its number of records is not
    known; from then on its index is kept, about 16 bytes for each of its records. Threads share it.

    Parameters
    ----------
    open_file : function that makes a path of a file's name; called when the file is first read
    sizes : {name of a file: its records, or None where that is not known}, in order
    at_once : reads that are under way together, in threads; 1: none but the caller's
    """

    def __init__(self, open_file, sizes, at_once=1):
        self._open_file, self._names, self._at_once = open_file, list(sizes), at_once
        self._readers, self._opening = {}, [threading.Lock() for _ in sizes]
        self._sizes = list(sizes.values())
        if None in self._sizes:
            self._sizes = [self._reader(i).num_records() for i in range(len(sizes))]
        self._starts = np.cumsum([0, *self._sizes])
        self._threads = ThreadPoolExecutor(at_once) if at_once > 1 else None

    def read(self, positions):
        """Records at some positions, in that order: integers [b] -> list of bytes [b].

        Raises
        ------
        ValueError
            A position beyond the records; a file that holds another number of them.
        RuntimeError
            A damaged file or record.
        """
        positions = np.asarray(positions, np.int64)
        if len(positions) and not 0 <= positions.min() <= positions.max() < self._starts[-1]:
            raise ValueError(
                f"cell {positions.min()} or {positions.max()} asked for; there are "
                f"{self._starts[-1]}"
            )
        found = [b""] * len(positions)
        jobs = self._jobs(positions)
        do = self._threads.map if self._threads else map
        done = do(lambda job: self._read(job[0], positions[job[1]]), jobs)
        for (_, places), records in zip(jobs, done, strict=True):
            for place, record in zip(places.tolist(), records, strict=True):
                found[place] = record
        return found

    def _jobs(self, positions):
        """[(file, which of the positions to read there)]; forward through each file."""
        file = np.searchsorted(self._starts, positions, side="right") - 1
        order = np.lexsort((positions, file))
        most = max(1, -(-len(positions) // self._at_once))
        jobs = []
        for places in np.split(order, np.flatnonzero(np.diff(file[order])) + 1):
            for part in range(0, len(places), most):
                jobs.append((file[places[0]], places[part : part + most]))
        return jobs

    def _read(self, file, positions):
        reader = self._reader(file)
        each = (positions - self._starts[file]).tolist()
        return [self._one(reader, p) for p in each]

    def _one(self, reader, position):
        # A list of positions would go to the pool; a range of one does not, and frees the GIL.
        return reader.read(position, position + 1)[0]

    def _reader(self, file):
        with self._opening[file]:
            if file not in self._readers:
                self._readers[file] = self._opened(file)
            return self._readers[file]

    def _opened(self, file):
        path, expected = self._open_file(self._names[file]), self._sizes[file]
        reader = ArrayRecordReader(path, OPTIONS, file_reader_buffer_size=BUFFER)
        if not reader.ok():
            reader.read([0])  # raises, and says why the index could not be read
        if expected not in (None, reader.num_records()):
            raise ValueError(
                f"{path} is damaged: it holds {reader.num_records()} records, expected {expected}"
            )
        return reader
