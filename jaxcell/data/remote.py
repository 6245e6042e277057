"""Stores that lie elsewhere: gs://, s3:// and whatever else fsspec reads."""

import hashlib
import json
import os
import threading
from pathlib import Path

CACHE = "JAXCELL_CACHE"  # environment variable: where copies are kept
IN_PLACE = ("gs",)  # read record by record, by ArrayRecord itself
# Records asked for together: each takes as long as the network, not the processor. At 20 ms each,
# 128 give 4 600 cells a second, 32 give 1 300 (`jaxcell.bench.loader --latency`).
AT_ONCE = 128


def is_url(path):
    """Whether a path names a place that is not in this machine's file system."""
    return "://" in str(path)


def summary_of(text, where):
    """What a store.json says, from its text or bytes; `where` names it in the error.

    Raises
    ------
    ValueError
        It is no JSON, or none of a store.
    """
    try:
        summary = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is damaged: {error}") from error
    if not isinstance(summary, dict):
        raise ValueError(f"{where} is damaged: found {type(summary).__name__}, expected fields")
    return summary


class Remote:
    """The folder of a store by its URL, file after file copied when it is first needed.

    Copies lie under $JAXCELL_CACHE, by default ~/.cache/jaxcell, in a folder for each URL and
    content: a store that has changed is copied anew. Record files under gs:// are not copied: each
    cell is read where it is.

    Raises
    ------
    ImportError
        fsspec, or what it needs for this kind of URL, is not installed.
    FileNotFoundError
        No store.json there.
    OSError
        It cannot be read: no access, no network.
    ValueError
        A kind of URL that fsspec does not know; a store.json that is none; a copy that came out
        shorter or longer.
    """

    def __init__(self, url):
        self.url = str(url).rstrip("/")
        self._protocol = self.url.partition("://")[0]
        self._files, self._root = _filesystem(self.url)
        try:
            said = self._files.cat_file(f"{self._root}/store.json")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.url} is not a store (it has no store.json); make one with `jaxcell prepare "
                "FOLDER FILE.h5ad` and copy the folder there"
            ) from error
        except Exception as error:  # each library has its own; NoCredentialsError is no OSError
            raise OSError(f"{self.url} cannot be read: {type(error).__name__}: {error}") from error
        self.summary = summary_of(said, f"{self.url}/store.json")
        own = f"{self.url} {self.summary.get('content_hash')}"
        cache = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "jaxcell")
        self.folder = cache / hashlib.sha256(own.encode()).hexdigest()[:32]
        self.at_once = AT_ONCE if self._protocol in IN_PLACE else 1

    def file(self, name):
        """The path of a copy of one of its files."""
        path, size = self.folder / name, self.summary["files"][name]["bytes"]
        if path.is_file() and path.stat().st_size == size:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: another thread, process or machine may copy the same file, or this
        # process be killed.
        mine = f"{os.uname().nodename}-{os.getpid()}-{threading.get_ident()}"
        part = path.with_name(f".{path.name}.{mine}")
        try:
            self._files.get_file(f"{self._root}/{name}", str(part))
            if (found := part.stat().st_size) != size:
                raise ValueError(
                    f"{self.url}/{name} is damaged: {found} bytes, {size} were written; copy the "
                    "store again"
                )
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def opened(self, name):
        """One of its files as it lies there, for reading: a context manager."""
        return self._files.open(f"{self._root}/{name}", "rb")

    def record_file(self, name):
        """Where ArrayRecord reads one of the record files: in place, or the path of a copy."""
        return f"{self.url}/{name}" if self._protocol in IN_PLACE else str(self.file(name))


def _filesystem(url):
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(f"{url}: pip install 'jaxcell[cloud]'") from error
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ImportError(f"{url}: {error}; pip install 'jaxcell[cloud]'") from error
    except ValueError as error:
        raise ValueError(f"{url}: {error}; known are gs:// and s3://") from error
