"""What lies in the folder of a foreign checkpoint: weights, JSON, names. Nothing of it is executed.

A checkpoint of torch is a pickle, and a pickle is a program: it is read by torch's weights-only
reader, which knows tensors and containers and refuses all else, but for the settings of a few
trainers, of which `stubs` keeps the values. Safetensors hold nothing but tensors.
"""

import contextlib
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from safetensors.numpy import load_file

from jaxcell import hub
from jaxcell.conversion.stubs import plain, stand_ins
from jaxcell.files import read_text

with contextlib.suppress(ImportError):  # tells numpy, and so safetensors, of bfloat16
    import ml_dtypes  # noqa: F401

WRAPPERS = ("state_dict", "model_state_dict")  # keys that trainers put a state dict under
TOLD = "hyper_parameters"  # the key of what Lightning's modules were made with
SAFE_TORCH = (2, 6)  # before it the weights-only reader could be led to run code (CVE-2025-32434)


class Source(NamedTuple):
    """A foreign checkpoint, read.

    weights : the file of weights; what belongs to it lies in the same folder
    tensors : {name: array}
    told : what the trainer kept beside the tensors in their file, of plain containers, text and
        numbers alone; see `stubs.plain`
    """

    weights: Path
    tensors: dict
    told: dict

    def json(self, name):
        """The dict that a JSON file beside the weights holds; see `read_json`."""
        return read_json(self.weights.with_name(name))


def read_source(source):
    """Read the weights of a folder, the file that is named, or 'hf://ORG/NAME[@REVISION]'.

    Raises
    ------
    ValueError, ImportError
        See `find_weights`, `read_weights` and `jaxcell.hub.fetch`.
    """
    weights = find_weights(hub.fetch(source) if hub.is_address(source) else source)
    return Source(weights, *read_weights(weights))


def find_weights(source):
    """The file of weights: ``source`` itself, or the only one of its kind in that folder.

    Raises
    ------
    ValueError
        There is none, or there are several.
    """
    source = Path(source)
    if source.is_file():
        return source
    for kind in hub.WEIGHTS:  # the first kind that is there
        found = sorted(source.glob(f"*{kind}"))
        if len(found) > 1:
            names = ", ".join(p.name for p in found)
            raise ValueError(f"{source}: has several files of weights ({names}); name one of them")
        if found:
            return found[0]
    what = "has no" if source.is_dir() else "does not exist; expected a folder with a"
    raise ValueError(f"{source}: {what} file of weights ({', '.join(hub.WEIGHTS)})")


def read_weights(path):
    """{name: array} of a state dict in a file of torch's, or in safetensors; and what is told.

    Raises
    ------
    ValueError
        The file is damaged, holds something else than tensors, or would have to run code.
    ImportError
        It is torch's, and torch is absent or too old to read it safely.
    """
    if path.suffix == ".safetensors":
        return _undamaged(path, load_file), {}
    loaded, told = _undamaged(path, _load)
    entries = _state_dict(loaded, path)
    return {name: _array(name, entry, path) for name, entry in entries.items()}, told


def _undamaged(path, read):
    """``read(path)``; whatever goes wrong inside becomes an error that names the file."""
    try:
        return read(path)
    except (ImportError, FileNotFoundError):
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds a pickled {found[1]}" if found else "does not hold tensors alone"
        raise ValueError(
            f"{path}: refused: it is no checkpoint, is damaged, or {what}. Reading pickled objects "
            "can run any code. "
            "If you trust whoever made it, load it where its code is installed and write the "
            "weights alone, safetensors.torch.save_file(model.state_dict(), 'model.safetensors') "
            "or torch.save(model.state_dict(), …), and convert those"
        ) from None
    except Exception as error:
        said = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"{path}: is damaged, or no file of weights ({type(error).__name__}: {said}); copy it "
            "again"
        ) from None


def _load(path):
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path}: files of torch are read by torch: pip install 'jaxcell[torch]'; or convert "
            "the weights to safetensors where it is installed"
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise ImportError(
            f"{path}: found torch {torch.__version__}, whose weights-only reader can be led to run "
            "code; update to 2.6 or newer"
        )
    with torch.serialization.safe_globals(stand_ins(_unknown_names(path))):
        found = torch.load(path, map_location="cpu", weights_only=True)
    _check_sums(path)
    told = plain(found[TOLD]) if isinstance(found, dict) and TOLD in found else {}
    return found, told if isinstance(told, dict) else {}


def _unknown_names(path):
    """Names of a file of torch's which its reader would refuse; none where it cannot tell."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # damaged, of another format: what is wrong is said where it is read
        return []


def _check_sums(path):
    """Raise ValueError where the archive's checksums, which torch does not read, do not fit.

    torch can be told to write none that fit; a damaged file has some that do.
    """
    if not zipfile.is_zipfile(path):
        return  # the format before torch 1.6 has none
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        wrong = [name for name in names if not _fits(archive, name)]
    if 0 < len(wrong) < len(names):
        raise ValueError(f"the checksum of {wrong[0]} in it does not fit")


def _fits(archive, name):
    try:
        with archive.open(name) as file:
            while file.read(2**20):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _state_dict(loaded, path):
    """The dict of tensors, whatever a trainer has wrapped it into."""
    inside = loaded if isinstance(loaded, dict) else {}
    inside = next((inside[k] for k in WRAPPERS if isinstance(inside.get(k), dict)), inside)
    if not inside:
        kind = type(loaded).__name__
        raise ValueError(f"{path}: found a {kind} without tensors, expected a state dict")
    # DataParallel's name for the model itself.
    parallel = all(str(name).startswith("module.") for name in inside)
    return {str(k).removeprefix("module.") if parallel else str(k): v for k, v in inside.items()}


def _array(name, entry, path):
    import torch

    if not isinstance(entry, torch.Tensor):
        raise ValueError(
            f"{path}: {name} is a {type(entry).__name__}, expected a state dict of tensors alone"
        )
    if entry.layout != torch.strided or entry.is_quantized or entry.is_meta:
        raise ValueError(
            f"{path}: the tensor {name} is sparse, quantised or without numbers, expected a dense "
            "one"
        )
    narrow = entry.is_floating_point() and entry.dtype != torch.float64
    return (entry.detach().float() if narrow else entry.detach()).numpy()


def read_json(path):
    """The dict that a JSON file holds.

    Raises
    ------
    ValueError
        The file is missing, no JSON, no dict, or names something twice.
    """
    if not path.is_file():
        raise ValueError(f"{path}: does not exist; it belongs to the checkpoint")
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged ({error}); copy it again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: found a {type(found).__name__}, expected names with values")
    return found


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def read_names(given, number, what, tensor):
    """Names of ``number`` classes: of a list or a text file, one a line; made up where none is.

    what : 'class' or 'batch'; tensor : the one that has so many

    Raises
    ------
    ValueError
        There are more or fewer, or one twice.
    """
    if given is None:
        return [f"{what} {k}" for k in range(number)]
    where = given if isinstance(given, str | Path) else f"names of each {what}"
    if isinstance(given, str | Path):
        given = read_lines(given)
    names = [str(name) for name in given]
    if len(names) != number or len(set(names)) < number:
        raise ValueError(
            f"{where}: found {len(names)} names, {len(set(names))} of them different, expected "
            f"{number} different ones, as {tensor} has"
        )
    return names


def read_lines(path):
    """The lines of a text file that are not empty.

    Raises
    ------
    ValueError
        There is no such file, or it is no text.
    """
    try:
        lines = read_text(path, "names, one a line").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no text file that can be read ({error})") from None
    return [line.strip() for line in lines if line.strip()]
