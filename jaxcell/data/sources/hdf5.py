"""HDF5 files: opened with clear refusals, also where they need a compression that h5py lacks."""

import contextlib

import h5py
from h5py import h5z

from jaxcell.files import near
from jaxcell.writing import DiskError

EXTRA = "pip install 'jaxcell[hdf5]'"


@contextlib.contextmanager
def opened(path, kind):
    """An HDF5 file for reading; what goes wrong inside the ``with`` names it too.

    Parameters
    ----------
    path : Path
    kind : str
        What the file should be, for errors: 'an h5ad'.

    Raises
    ------
    FileNotFoundError, PermissionError, ImportError, ValueError
        No such file, or none that may be read; a compression that nothing here reads; empty,
        truncated, damaged or no HDF5.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not {kind} file; name a file in it")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist{near(path)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); copy it again")
    try:
        path.open("rb").close()
    except OSError as error:
        raise PermissionError(
            f"{path} cannot be read: {error.strerror or error}; change who may read it, or copy it"
        ) from error
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"{path} is not an HDF5 file, so not {kind}; is it another file under this name?"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is truncated or damaged: {error}; copy it again") from error
    with file:
        try:
            require_filters(file, path)
            yield file
        except DiskError:  # of what is laid down elsewhere
            raise
        except (OSError, RuntimeError, KeyError) as error:  # what h5py raises inside a file
            raise ValueError(f"{path} is truncated or damaged: {error}; copy it again") from error


def strings(dataset):
    """Texts of a dataset, whether HDF5 calls them bytes or str."""
    return [v.decode() if isinstance(v, bytes) else str(v) for v in dataset[:]]


def require_filters(file, path):
    """Make every compression that an open HDF5 file uses readable.

    hdf5plugin registers its filters when it is imported, for the whole process.

    Raises
    ------
    ImportError
        A filter is not there, and neither is hdf5plugin.
    ValueError
        A filter that hdf5plugin does not know either.
    """
    if not _unreadable(file):
        return
    try:
        import hdf5plugin  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path} is compressed by {_shown(_unreadable(file))}, which hdf5plugin reads: {EXTRA}"
        ) from error
    if _unreadable(file):
        raise ValueError(
            f"{path} is compressed by {_shown(_unreadable(file))}, which neither HDF5 nor "
            "hdf5plugin reads; write it again with gzip"
        )


def _unreadable(file):
    """{number: name} of the filters that this process cannot undo."""
    found = {}

    def look(_, item):
        if isinstance(item, h5py.Dataset):
            plist = item.id.get_create_plist()
            for i in range(plist.get_nfilters()):
                number, _, _, name = plist.get_filter(i)
                if not h5z.filter_avail(number):
                    found[number] = name.decode(errors="replace") or "an unnamed filter"

    file.visititems(look)
    return found


def _shown(filters):
    return " and ".join(f"{name} (HDF5 filter {number})" for number, name in filters.items())
