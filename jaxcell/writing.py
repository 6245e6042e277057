"""Files and folders that are there whole or not at all, and what is said where a disk fails."""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from pathlib import Path

import h5py

from jaxcell.files import check_new

FULL = (errno.ENOSPC, errno.EDQUOT)
# Of the disk, and not of a path, which Python's own messages name.
DISK = (*FULL, errno.EFBIG, errno.EIO, errno.EROFS)
REFUSED = (errno.EACCES, errno.EPERM)


class DiskError(OSError):
    """What a user is told of a disk that is full, read-only or broken; names the path."""


@contextlib.contextmanager
def writing(path, needs=0):
    """Turn what a disk does to a write into a `DiskError` that names ``path``.

    Libraries tell it each in its own way, and mostly without a name: Python and HDF5 by an OSError,
    ArrayRecord by a RuntimeError, TensorStore by a ValueError, safetensors by one of its own.

    Parameters
    ----------
    path : what is written, a file or a folder; it need not be there
    needs : bytes that it takes, where that is known
    """
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        plain = isinstance(error, OSError) and code != errno.EIO
        raise _told(path, code, needs, "" if plain else str(error)) from error


def _code(error):
    """The system's number of a disk's error, None of any other."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in DISK else None
    if isinstance(error, PermissionError):  # of ours, which names what it is about
        return None
    text = str(error)
    return next((code for code in (*DISK, *REFUSED) if os.strerror(code) in text), None)


def _told(path, code, needs, text=""):
    said = f"{path}: cannot be written: {os.strerror(code)}"
    if code in FULL:
        some = f", and about {size(needs)} are needed" if needs else ""
        said += f"; {size(room(path))} are free there{some}. Make room, and"
    else:
        # It may have been in reading what is written: then a library's own text names that.
        more = " ".join(text.split())[:200]
        said += f" ({more})" if "/" in more.replace("Input/output", "") else ""
        read_only = "Name another place, or make this one writable, and"
        said += ". Look at the disk, and" if code == errno.EIO else f". {read_only}"
    told = DiskError(f"{said} give the same command again")
    told.errno = code
    return told


def room(path):
    """Bytes that are free where ``path`` is or will be."""
    path = Path(path).absolute()
    return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free


def size(number):
    """A number of bytes as text: '1.5 GB'."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.{0 if units[0] == 'bytes' or number >= 100 else 1}f} {units[0]}"


def check_room(path, needs):
    """Refuse, before anything is computed for it, an output that its disk has no room for.

    needs : bytes, at least
    """
    if room(path) < needs:
        raise _told(path, errno.ENOSPC, needs)


@contextlib.contextmanager
def whole_file(path):
    """The path to write a file at, which then gets its name: on the disk in full, or not at all."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial(path)
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(path):
    """`whole_file`, refused with a FileExistsError where ``path`` appeared meanwhile."""
    with whole_file(path) as partial:
        yield partial
        if os.path.lexists(path):
            raise FileExistsError(
                f"{path}: appeared while it was being made, and is left as it is; was the same "
                "started twice? Remove it, or name another output"
            )


@contextlib.contextmanager
def hdf5_file(path, mode):
    """An HDF5 file to write to, 'w' or 'r+', each of whose writes fails where it is called for.

    HDF5 keeps small arrays and chunks back until their dataset is closed, which Python does as it
    frees it; an error then is told to nobody, and the file lacks values. Without these caches
    arrays are written at once, and what is kept back besides goes to the disk in the flush.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_sieve_buf_size(0)
    access.set_cache(0, 521, 0, 0.75)
    name = os.fsencode(path)
    if mode == "w":
        opened = h5py.h5f.create(name, h5py.h5f.ACC_TRUNC, fapl=access)
    else:
        opened = h5py.h5f.open(name, h5py.h5f.ACC_RDWR, fapl=access)
    file = h5py.File(opened)
    try:
        yield file
        file.flush()
    except BaseException:
        with contextlib.suppress(Exception):  # closing fails too, and says less
            file.close()
        raise
    file.close()


def _partial(path):
    """Where what shall be ``path`` is written; what killed processes left of it goes.

    Each process has its own: two may be at the same file, as an engine's spare try is, or a worker
    left by a kill.
    """
    machine = os.uname().nodename
    for left in path.parent.glob(f"{glob.escape(f'{path.name}.{machine}')}-*.partial"):
        number = left.name.removesuffix(".partial").rpartition("-")[2]
        if number.isdecimal() and not is_alive(int(number)):
            remove = shutil.rmtree if left.is_dir() else Path.unlink
            with contextlib.suppress(OSError):  # another process may do the same
                remove(left)
    return path.with_name(f"{path.name}.{machine}-{os.getpid()}.partial")


def is_alive(number):
    """Whether a process of this machine is there."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_text(path, text):
    """Write a small file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def whole_folder(out, needs=0):
    """A new folder, which becomes ``out`` at the end; after an error nothing is left of it.

    Parameters
    ----------
    out : path
    needs : bytes that it takes at least, if that is known

    Raises
    ------
    ValueError
        ``out`` exists, or its folder does not.
    DiskError
        There is no room for it.
    """
    out = Path(out)
    check_free(out)
    check_room(out, needs)
    with writing(out, needs):
        partial = _partial(out.absolute().with_name(f".{out.name}"))
        try:
            partial.mkdir(0o700)
            folder = partial / out.name  # made as any folder is
            folder.mkdir()
            yield folder
            check_free(out)  # nobody has made it meanwhile
            folder.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def filled_folder(out, last=("results.json",)):
    """A folder to write files in, which are moved into ``out`` at the end.

    After an error or Ctrl-C nothing of it is left, and ``out`` is as it was before.

    out : folder, made if absent; files of the same names there are replaced
    last : names of the files that are moved behind the others: who finds them finds all
    """
    out = Path(out)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        try:
            # Inside of it: who may write there need not be allowed to write beside it.
            with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as made:
                yield Path(made)
                files = [path for path in Path(made).rglob("*") if path.is_file()]
                for path in sorted(files, key=lambda path: (path.name in last, path)):
                    target = out / path.relative_to(made)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
        finally:
            with contextlib.suppress(OSError):
                out.rmdir()  # where it is empty


def check_fillable(out, writer, option="--out"):
    """Refuse a place that `filled_folder` cannot fill, before anything is computed for it.

    writer : what would write there; option : that names the place

    Raises
    ------
    ValueError
        It is a file, or below one.
    DiskError
        It is read-only, or somebody else's.
    """
    there = next(p for p in (Path(out).absolute(), *Path(out).absolute().parents) if p.exists())
    if not there.is_dir():
        which = "it" if there == Path(out).absolute() else there
        raise ValueError(f"{out}: {which} is a file; {writer} writes a folder: name one ({option})")
    check_writable(there, out)


def check_free(out, what="a folder", ending=""):
    """Raise ValueError unless something new can be written there.

    what : 'a folder', 'a file', 'a store'
    ending : of its name, see `jaxcell.files.check_new`
    """
    if str(out).startswith("hf:"):
        raise ValueError(f"{out}: expected {what} here; upload it with hf upload")
    check_new(out, what, ending)
    if os.path.lexists(out):
        raise ValueError(f"{out}: exists already; remove it or name another output")
    check_folder(out)


def check_folder(out):
    """Raise unless ``out`` lies in a folder that one can write to.

    Raises
    ------
    ValueError
        There is no such folder.
    DiskError
        It is read-only, or somebody else's.
    """
    folder = Path(out).absolute().parent
    if not folder.is_dir():
        raise ValueError(f"{out}: its folder does not exist; make it first")
    check_writable(folder, out)


def check_writable(folder, out):
    """Raise a DiskError, of ``out``, where one cannot write to the folder that shall hold it."""
    if not os.access(folder, os.W_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        raise _told(out, errno.EROFS if read_only else errno.EACCES, 0)
