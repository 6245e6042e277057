"""The C library's memory, kept between batches."""

import functools

import numpy as np

LARGEST = 2**25 - 2**16  # just below the size above which glibc maps every block anew, whatever


@functools.cache
def keep_freed():
    """Let glibc keep up to 64 MB of freed memory instead of handing it back after each batch.

    It maps blocks above a threshold, 128 kB at first, and unmaps them when they are freed; a batch
    of a few MB would be given new pages each time, a third of the time that reading it takes
    (measured: 35 µs a cell read and decoded, 26 with its pages kept). The threshold rises to the
    size of the largest block freed so far, so one is freed here. Elsewhere it does nothing. Source:
    mallopt(3), M_MMAP_THRESHOLD.
    """
    np.empty(LARGEST, np.uint8)
