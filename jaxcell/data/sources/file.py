"""Sources that lie in files: their checksum, and what tells quickly that they changed."""

import hashlib
import os

from jaxcell.data.sources.source import Source


class FileSource(Source):
    """A source in the file ``path``, or in several below it or beside it."""

    def _paths(self):
        return [self.path]

    def checksum(self):
        """sha256 of the file; of several, of their paths and sha256s."""
        paths = self._paths()
        each = [(os.path.relpath(path, self.path), _sha256(path)) for path in paths]
        if len(each) == 1:
            return each[0][1]
        return hashlib.sha256("\n".join(map(" ".join, each)).encode()).hexdigest()

    def stamp(self):
        """Sizes and times of the files."""
        stats = [path.stat() for path in self._paths()]
        size, latest = sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)
        return f"{len(stats)} files, {size} bytes, written at {latest} ns"


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
