"""The folder in which a store is made: whose it is, what was asked for, which blocks are done.

``.NAME.unfinished`` beside the store NAME holds

- ``lock``, locked as long as its process lives: the system lets go of it however that ends, so a
  killed prepare is told apart from one at work, from any machine that shares the disks (flock,
  which NFS passes on). On disks without locks it says which process on which machine holds it;
- ``request.json``, what was asked for: another request is refused;
- ``results/``, what was found of each block of cells, each file written whole or not at all;
- ``store/``, the files of the store, which gets its name at the end.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np

from jaxcell import __version__
from jaxcell.data.preparing import blocks
from jaxcell.writing import is_alive, whole_file, write_text, writing

REFUSALS = (ValueError, ImportError, FileNotFoundError)


class Results(dict):
    """{name: arrays} of blocks that are done, in memory."""

    def count(self, kind):
        """How many there are whose name starts so."""
        return sum(name.startswith(kind) for name in self)


class KeptResults:
    """The same in a folder; several processes may write there, and write the same."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def get(self, name):
        """Arrays of a block, or None where there are none or the file is not whole."""
        try:
            with open(self._path(name), "rb") as file, np.load(file) as arrays:
                return dict(arrays)  # each is compared with its checksum
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError):
            return None

    def __setitem__(self, name, arrays):
        with whole_file(self._path(name)) as path, open(path, "wb") as file:
            np.savez(file, **arrays)

    def count(self, kind):
        """How many there are whose name starts so."""
        return len(list(self.folder.glob(f"{kind}*.npz")))

    def _path(self, name):
        return self.folder / f"{name}.npz"


class Unfinished:
    """The folder, held by this process; `unfinished` gives it."""

    def __init__(self, folder):
        self.folder, self.store = folder, folder / "store"
        self.results = KeptResults(folder / "results")

    @property
    def done(self):
        """Blocks that are done."""
        return self.results.count("survey") + self.written

    @property
    def written(self):
        """Blocks whose records are done."""
        return self.results.count("write")

    def kept(self, name, find):
        """What an earlier call found, or what `find` does: an array."""
        found = self.results.get(name)
        if found is None:
            found = {name: np.asarray(find())}
            self.results[name] = found
        return found[name]

    def settled(self, number):
        """Where a source may lay down files for quick reading."""
        return self.folder / "settled" / f"{number:05}"


def request_of(options, shards, genes, sources, matches, asked):
    """What decides over the content: a prepare that was stopped goes on with no other.

    sources, matches, asked : list of opened source, GeneMatch and Asked
    """
    request = {**options, "shards": shards, "vocabulary": genes.sha256}
    request |= {"jaxcell": __version__, "cells of a block": blocks.CELLS}
    for source, found, of in zip(sources, matches, asked, strict=True):
        chosen = {"genes": found.columns, "mitochondrial": of.mito, "wanted": of.wanted}
        told = [f"{what} {_word(one)}" for what, one in chosen.items() if one is not None]
        request[source.name] = ", ".join(
            [f"{source.n_cells} cells, {source.counts}, {source.stamp()}", *told]
        )
    return request


def _word(array):
    """What tells an array from others."""
    return hashlib.sha256(array.tobytes()).hexdigest()[:12]


def clean_up(out):
    """Remove what a prepare that was killed after its last step left beside the store `out`.

    Returns
    -------
    bool
        Whether there was something.
    """
    folder = folder_of(out)
    if not (out / "store.json").is_file() or not folder.is_dir() or (folder / "store").exists():
        return False
    with _locked(folder, out):
        shutil.rmtree(folder, ignore_errors=True)
    return True


def folder_of(out):
    """The folder in which the store `out` is made."""
    return out.parent / f".{out.name}.unfinished"


@contextlib.contextmanager
def unfinished(out, request):
    """Hold the folder of the unfinished store `out`, which becomes `out` at the end.

    Parameters
    ----------
    out : path
    request : dict
        What decides over the content, JSON; a folder of another request is refused.

    Yields
    ------
    Unfinished

    Raises
    ------
    ValueError
        Another process is at work there, or the folder is that of another request.

    Notes
    -----
    If the caller raises a refusal (a ValueError and the like) before any record file is done, the
    folder goes. After that, and when it is stopped otherwise, what is done stays for the next call,
    if it is more than one block.
    """
    folder = folder_of(out)
    with writing(folder), _locked(folder, out):
        _agree(folder, request, out)
        work = Unfinished(folder)
        if work.done:
            print(
                f"going on with {folder}, left by a prepare that was stopped: "
                f"{work.results.count('survey')} blocks of cells checked, {work.written} written"
            )
        work.store.mkdir(exist_ok=True)
        try:
            yield work
            if out.exists():
                raise FileExistsError(
                    f"{out} appeared while it was being prepared; the new one is in {work.store}"
                )
            work.store.rename(out)
        except BaseException as error:
            # A refusal is mended by another request; all else is worth going on after.
            if work.written or (work.done > 1 and not isinstance(error, REFUSALS)):
                print(f"what is done is kept in {folder}: the same prepare will go on from there")
                raise
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder, out):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = ""
        except BlockingIOError:
            raise ValueError(
                f"{out} is being prepared by {_holder(file) or 'another process'}; wait for it"
            ) from None
        except OSError:  # these disks have no locks
            holder = _holder(file)
        if holder and not _is_dead(holder):
            raise ValueError(
                f"{out} was begun by {holder}, and these disks have no locks to tell whether that "
                f"is still at work; if it is not, remove {path}"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        os.fsync(file.fileno())
        try:
            yield
        finally:
            file.truncate(0)  # where there are no locks, nobody holds it now
    with contextlib.suppress(OSError):  # on NFS an open file stays, and its folder with it
        folder.rmdir()


def _holder(file):
    file.seek(0)
    return file.read().strip()


def _is_dead(holder):
    """Whether 'process N on MACHINE' is of this machine and gone."""
    _, number, _, machine = holder.split()
    if machine != os.uname().nodename:
        return False
    return not is_alive(int(number)) or int(number) == os.getpid()


def _agree(folder, request, out):
    """Write down the request, or compare it with that of the folder."""
    request = json.loads(json.dumps(request))
    path = folder / "request.json"
    if not path.exists():
        for left in ("results", "settled", "store"):  # of a request that a kill half removed
            shutil.rmtree(folder / left, ignore_errors=True)
        write_text(path, json.dumps(request, indent=1))
        return
    there, request = _flat(json.loads(path.read_text(encoding="utf-8"))), _flat(request)
    changed = [
        f"{name} was {there.get(name)!r}, is {request.get(name)!r}"
        for name in sorted({*there, *request})
        if there.get(name) != request.get(name)
    ]
    if changed:
        raise ValueError(
            f"{folder} holds an unfinished {out.name} of another request: {'; '.join(changed)}. "
            "Ask for the same to go on, or remove the folder to start anew"
        )


def _flat(request, before=""):
    """{'a': {'b': 1}} → {'a.b': 1}: of a manifest those fields are told that changed."""
    flat = {}
    for name, value in request.items():
        inside = _flat(value, f"{before}{name}.") if isinstance(value, dict) and value else None
        flat |= inside or {f"{before}{name}": value}
    return flat
