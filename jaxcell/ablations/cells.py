"""The cells of an ablation: read, thinned, and made into a store once."""

import hashlib
import json
from pathlib import Path

import numpy as np

from jaxcell.data.store import Store
from jaxcell.files import read_json
from jaxcell.writing import write_text


def sha256(path):
    """Hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(paths):
    """Raise FileNotFoundError for a file that is not there."""
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file (--data, or JAXCELL_DATA, names the suite's folder; "
                "--train and the rest name files)"
            )


def store_of(path, files, asked, make):
    """The store at ``path``: made by make(path), or opened where the same was asked for before.

    Parameters
    ----------
    path : of the store, store…; beside it data….json says what it was made from
    files : what it is made from
    asked : dict, in what way
    make : path -> Store

    Raises
    ------
    ValueError
        It is there, made from other files or in another way.
    """
    note = path.with_name(path.name.replace("store", "data") + ".json")
    asked = {"train": [[str(f), sha256(f)] for f in files], **asked}
    if (path / "store.json").exists() and note.exists():
        there = read_json(note, {}, "name another folder")
        if there != asked:
            raise ValueError(
                f"{path}: was made from {there}, asked for are {asked}; name another folder"
            )
        return Store.open(path)
    store = make(path)
    write_text(note, json.dumps(asked, indent=1) + "\n")
    return store


def thinned(strata, cells, seed=0):
    """Which cells stay, where at most so many may: of each stratum the same share, drawn by seed.

    strata : str [n]; cells : int, 0: all

    Returns
    -------
    int [min(n, cells)], ascending
    """
    n = len(strata)
    if not cells or n <= cells:
        return np.arange(n)
    order = np.random.default_rng(seed).permutation(n)
    _, code, size = np.unique(np.array(strata)[order], return_inverse=True, return_counts=True)
    # A cell's place among those of its stratum, as a share: the lowest of all strata stay.
    rank, seen = np.empty(n), np.zeros(len(size), int)
    for i, k in enumerate(code):
        rank[i], seen[k] = seen[k], seen[k] + 1
    place = (rank + 0.5) / size[code]
    return np.sort(order[np.argsort(place, kind="stable")[:cells]])
