"""Where the files of a manifest lie: in the data folder, or beside the manifest."""

import glob
import os
from pathlib import Path

from jaxcell.data.sources import expand
from jaxcell.data.sources.in_memory import PBMC68K
from jaxcell.data.sources.opening import KINDS, place_of


def found_files(manifest, data, only=()):
    """Where each source lies: list of (Entry, [paths or addresses]).

    Parameters
    ----------
    manifest : Manifest
    data : path
        Folder in which relative paths are looked up.
    only : names of sources, by default all

    Raises
    ------
    FileNotFoundError
        Files are missing: all of them, each with where it is to be had.
    ValueError
        `only` names no source; a source names a file twice, or two have one in common and choose
        its cells alike. What these choose is compared when it is known, by
        ``jaxcell.data.preparing.repeats``.
    """
    unknown = [name for name in only if name not in [s.name for s in manifest.sources]]
    if unknown:
        raise ValueError(
            f"{manifest.file}: sources: found none named {unknown[0]!r} (--only), expected some of "
            f"{', '.join(s.name for s in manifest.sources)}"
        )
    asked = [s for s in manifest.sources if not only or s.name in only]
    found = [(entry, [matches(path, data) for path in entry.path]) for entry in asked]
    missing = [
        f"{entry.at}: {path} — where: {entry.where}"
        for entry, places in found
        for path, files in zip(entry.path, places, strict=True)
        if not files
    ]
    missing += _missing_vocabulary(manifest, data)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} files are not in the folder {data} (--data):\n  "
            + "\n  ".join(missing)
        )
    found = [(entry, [p for files in places for p in files]) for entry, places in found]
    _check_shared(found)
    return found


def _check_shared(found):
    """Refuse a file that a source names twice, or that two name without choosing among its cells.

    found : list of (Entry, [paths or addresses])
    """
    seen = {}
    for entry, paths in found:
        own = list(map(place_of, paths))
        for path in own:
            if own.count(path) > 1:
                others = [entry]
            else:
                _check_datasets(path, seen.get(path, ()), entry)
                others = [other for other in seen.get(path, ()) if _alike(other, entry)]
                seen.setdefault(path, []).append(entry)
            if others:
                raise ValueError(
                    f"{entry.at}.path: found {path}, expected a file that no other path names "
                    f"({others[0].at}), or other cells of it (keep, value_filter, filters)"
                )


def _check_datasets(path, others, entry):
    """A donor that is a dataset here and part of one there could be in training and held out."""
    for other in others:
        if other.dataset != entry.dataset:
            raise ValueError(
                f"{entry.at}.dataset: found {entry.dataset!r} for {path}, which {other.at} divides "
                f"by {other.dataset!r}; expected the same of both, since what is held out is whole "
                "datasets"
            )


def _alike(one, other):
    """Whether two entries ask for the same cells of a file."""
    names = ("keep", "value_filter", "filters")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def matches(path, data):
    """What a path, pattern, folder or address of a manifest names; [] where nothing is there.

    KIND:PATH is looked up in the folder as a path is; a release of the Census and URIs are not.
    """
    kind, colon, rest = path.partition(":")
    if path == PBMC68K or "://" in path:
        return [path]
    if kind == "census":  # VERSION/ORGANISM, or a copy of it in FOLDER/ORGANISM
        return [f"census:{Path(data) / rest}" if (Path(data) / rest).parent.is_dir() else path]
    if colon and kind in KINDS:
        return [f"{kind}:{place}" for place in sorted(glob.glob(str(Path(data) / rest)))]
    place = str(Path(data) / path)
    return [str(p) for p in expand(place)] if glob.glob(place, recursive=True) else []


def key_of(found, entry, data):
    """A name of what `matches` found for an entry, wherever the data folder and this process are.

    Cells are drawn by it, and datasets held out.
    """
    kind, colon, path = found.partition(":")
    if found == PBMC68K or "://" in found or (kind == "census" and found in entry.path):
        return f"{entry.name}/{found}"
    if not colon or kind not in KINDS:
        kind, colon, path = "", "", found
    return f"{entry.name}/{kind}{colon}{os.path.relpath(path, data)}"


def beside(path, manifest, data):
    """A file that the manifest names: in the data folder, or in the manifest's own."""
    places = [Path(data) / path, manifest.folder / path]
    return next((str(place) for place in places if place.is_file()), str(places[0]))


def _missing_vocabulary(manifest, data):
    name = manifest.vocabulary.get("file")
    if not name or Path(beside(name, manifest, data)).exists():
        return []
    where = manifest.vocabulary.get("where", "not stated")
    return [f"{manifest.file}: vocabulary.file: {name} — where: {where}"]
