"""A path, a name or an AnnData → the source that reads it; folders and patterns → their sources."""

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anndata

from jaxcell.data.remote import is_url
from jaxcell.data.sources import bulk, tenx
from jaxcell.data.sources.bulk import BulkSource
from jaxcell.data.sources.features import without_other_features
from jaxcell.data.sources.h5ad import H5adSource
from jaxcell.data.sources.in_memory import PBMC68K, AnnDataSource, pbmc68k_reduced
from jaxcell.data.sources.loom import LoomSource
from jaxcell.data.sources.soma import SomaSource, is_soma
from jaxcell.data.sources.tenx import TenxFolder, TenxH5
from jaxcell.data.sources.zarr import ZarrSource, is_zarr
from jaxcell.files import holds, near


@dataclass(frozen=True)
class Kind:
    """A kind of input: what opens it, how a path shows it, its options and how they are given."""

    open: Callable
    shown: str
    known_by: Callable = lambda path: False
    options: tuple = ()


def _census(path, *given, **options):
    return SomaSource(path, *given, census=True, **options)


def _ends(*ends):
    return lambda path: path.name.lower().endswith(ends)


# Looked at in this order; KIND:PATH names one outright.
KINDS = {
    "h5ad": Kind(H5adSource, "FILE.h5ad", _ends(".h5ad")),
    "zarr": Kind(
        ZarrSource, "STORE.zarr", lambda p: p.name.endswith((".zarr", ".zarr.zip")) or is_zarr(p)
    ),
    "10x": Kind(
        TenxFolder,
        "a folder with matrix.mtx",
        lambda p: p.name.endswith(tenx.MATRIX) or (p.is_dir() and bool(tenx.matrices(p))),
    ),
    "10x-h5": Kind(TenxH5, "FILE.h5 (10x)", _ends(".h5")),
    "loom": Kind(LoomSource, "FILE.loom", _ends(".loom")),
    "soma": Kind(SomaSource, "soma:URI", is_soma, ("value_filter", "measurement")),
    "census": Kind(_census, "census:VERSION/ORGANISM", options=("value_filter", "measurement")),
    "bulk": Kind(
        BulkSource,
        "a bulk table (.tsv, .csv, .txt, .gct)",
        lambda p: p.name.removesuffix(".gz").endswith(bulk.ENDS),
        ("genes_in",),
    ),
}
OPTIONS = {"value_filter": "--soma-filter", "measurement": "--soma-measurement",
           "genes_in": "--genes-in"}  # fmt: skip
KNOWN = ", ".join(kind.shown for kind in KINDS.values()) + f", {PBMC68K}, or an AnnData"


def open_source(
    spec,
    *,
    counts="X",
    chunk_cells=None,
    name="AnnData",
    features=(),
    value_filter=None,
    measurement=None,
    genes_in=None,
):
    """Open an input of `prepare`.

    Parameters
    ----------
    spec : path, str or anndata.AnnData
        An h5ad file; a zarr store of an AnnData; a folder or h5 of Cell Ranger; a loom file; a
        SOMA experiment (a folder, or ``soma:URI``); ``census:VERSION/ORGANISM``; a bulk table;
        ``scanpy:pbmc68k_reduced`` (700 real cells inside scanpy); or an AnnData. ``KIND:PATH``
        says what a path is whose name does not.
    counts : str
        Where the counts are: 'X', 'raw' or 'layers/NAME'; in SOMA 'X/LAYER' ('X' is X/raw).
    chunk_cells : int, optional
        Cells of a chunk; by default 2048, fewer where there are more than 4096 genes.
    name : str
        What errors call an AnnData.
    features : list of str
        Types of features to keep beside genes, where var says which type each has.
    value_filter, measurement : str, optional
        Cells and measurement ('RNA') of a SOMA experiment.
    genes_in : {'rows', 'columns'}, optional
        Where a bulk table has its genes, if their names do not say it.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not a known kind of input; empty, truncated or damaged; no such layer; an option of
        another kind of input.
    ImportError
        A library is needed and absent.
    """
    asked = {"value_filter": value_filter, "measurement": measurement, "genes_in": genes_in}
    asked = {option: value for option, value in asked.items() if value is not None}
    if isinstance(spec, anndata.AnnData):
        known, opened = (), partial(AnnDataSource, spec, name, counts, chunk_cells)
    elif str(spec) == PBMC68K:
        known, opened = (), lambda: AnnDataSource(pbmc68k_reduced(), PBMC68K, counts, chunk_cells)
    else:
        kind, path = kind_of(spec)
        known = KINDS[kind].options
        opened = partial(KINDS[kind].open, path, counts, chunk_cells, **asked)
    for option, value in asked.items():
        if option not in known:
            kinds = " and ".join(k.shown for k in KINDS.values() if option in k.options)
            where = name if isinstance(spec, anndata.AnnData) else spec
            raise ValueError(
                f"{where}: found {option}={value!r} ({OPTIONS[option]}); it is for {kinds} alone"
            )
    source = without_other_features(opened(), features)
    if not isinstance(spec, anndata.AnnData):
        source.spec, source.options = _anywhere(spec), {**asked, "features": list(features)}
    return source


def _anywhere(spec):
    """The same input for a process with another working folder."""
    kind, colon, path = str(spec).partition(":")
    if not colon or kind not in KINDS:
        kind, colon, path = "", "", str(spec)
    # Of a Census the last part is no folder of that name.
    there = Path(path).exists() or (kind == "census" and Path(path).parent.is_dir())
    return f"{kind}{colon}{os.path.abspath(path) if there else path}"


def place_of(spec):
    """The same for two spellings of an input, with or without its kind: no cell is taken twice."""
    kind, colon, path = str(spec).partition(":")
    return os.path.realpath(path if colon and kind in KINDS else spec)


def kind_of(spec):
    """Name of the kind, and the path or URI, of an input; nothing is opened.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file or folder; not a known kind of input.
    """
    kind, colon, rest = str(spec).partition(":")
    if colon and kind in KINDS:
        return kind, rest
    path = Path(spec)
    if is_url(str(spec)):
        raise ValueError(
            f"{spec}: inputs are read from files; copy it here first, and name the copy (only "
            "stores are read at such an address: --config.data.store)"
        )
    for kind, facts in KINDS.items():
        if facts.known_by(path):
            return kind, path
    if path.is_dir():
        raise ValueError(_nothing_in(path))
    if not (path.exists() or path.suffix):
        raise FileNotFoundError(f"{path} does not exist; known: {KNOWN}{near(path)}")
    raise ValueError(
        f"{spec}: unknown kind of input {path.suffix!r}; known: {KNOWN}; or KIND:PATH, of "
        f"{', '.join(KINDS)}"
    )


def _nothing_in(folder):
    ours = holds(folder)
    what = f"is {ours}, and holds no cells" if ours else "holds no input that is known"
    return f"{folder} {what}; known: {KNOWN}"


def expand(files):
    """Inputs with each folder and pattern replaced by the sources in it, sorted by path.

    Parameters
    ----------
    files : path, str, AnnData, or a list of these
        A folder that is a source itself (zarr, 10x, SOMA) is one. Of another folder all sources
        in it and below, but bulk tables: text files may be anything, so name them. A pattern has
        ``*``, ``?`` or ``[``, and ``**`` for any folders.

    Returns
    -------
    list

    Raises
    ------
    ValueError
        Nothing matches, or nothing in a folder is known.
    """
    files = [files] if isinstance(files, str | Path | anndata.AnnData) else list(files)
    return [one for file in files for one in _expanded(file)]


def _expanded(file):
    if isinstance(file, anndata.AnnData):
        return [file]
    path = Path(file)
    if (path / "store.json").is_file():
        raise ValueError(
            f"{path}: found a store, expected files of raw counts; train on it "
            f"(--config.data.store={path}), or name the files that it was made of"
        )
    if path.is_dir():
        found = _inside(path)
        if not found:
            raise ValueError(_nothing_in(path))
        return found
    if path.exists() or not glob.has_magic(str(file)) or str(file).partition(":")[0] in KINDS:
        return [file]
    matches = [Path(p) for p in sorted(glob.glob(str(file), recursive=True))]
    # ``**`` also goes into folders that are sources.
    matches = [p for p in matches if not any(is_zarr(q) or is_soma(q) for q in p.parents)]
    found = [one for p in matches for one in (_inside(p) if p.is_dir() else [p] * _known(p))]
    if not found:
        raise ValueError(f"{file}: nothing that is known matches; known: {KNOWN}")
    found = list(dict.fromkeys(found))
    return [p for p in found if not set(p.parents) & set(found)]  # no file of a source beside it


def _inside(folder, above=()):
    """A folder that is a source, or the sources in it and below; no link leads back `above`."""
    matrices = tenx.matrices(folder)
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    others = [p for p in files if _known(p, but=("10x", "bulk"))]
    if is_zarr(folder) or is_soma(folder) or (len(matrices) == 1 and not others):
        return [folder]
    above = (*above, folder.resolve())
    below = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    below = [p for p in below if p.resolve() not in above]
    found = [*matrices, *others, *(one for p in below for one in _inside(p, above))]
    return sorted(found)


def _known(path, but=()):
    return any(kind.known_by(path) for name, kind in KINDS.items() if name not in but)
