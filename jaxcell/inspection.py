"""What lies in sources or a store, before anything is made of it: ``jaxcell inspect``."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata

from jaxcell.data.genes import read_gene_map
from jaxcell.data.inspection import overlap, values
from jaxcell.data.inspection.cells import blocks, look_at
from jaxcell.data.inspection.stores import looks_of
from jaxcell.data.matching import match
from jaxcell.data.preparing.repeats import check_cells
from jaxcell.data.remote import is_url
from jaxcell.data.sources import expand, open_source
from jaxcell.data.sources.features import check_features
from jaxcell.data.species import check_species
from jaxcell.data.store import Store
from jaxcell.data.types import Cells, StrPath
from jaxcell.data.union import union
from jaxcell.data.unprepared import is_source
from jaxcell.evaluation import html_page
from jaxcell.evaluation.source_report import how_made, page_blocks
from jaxcell.progress import bar
from jaxcell.writing import check_fillable, filled_folder

CELLS = 100_000  # of a source that are read


def inspect(
    sources: Cells | Sequence[Cells],
    *,
    labels: Sequence[str] | None = None,
    batch: str | None = None,
    counts: str | None = None,
    cells: int = CELLS,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    features: Any = (),
    soma_filter: Any = None,
    soma_measurement: Any = None,
    genes_in: Any = None,
    out: StrPath | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Look into sources and stores: cells, depth, values, labels, genes, and what they share.

    Nothing is changed, and no record of a store is read: its index and statistics say it all.

    Parameters
    ----------
    sources : path, AnnData, or a list of these
        Inputs of `prepare`, folders and patterns of them, and stores (also by URL): each dataset is
        a row.
    labels : list of str, optional
        obs columns to count the classes of; by default those of 2 to 200 classes.
    batch : str, optional
        obs column of merged files whose batches may have other panels; by default the first of
        batch, dataset, study, … that there is.
    counts : str, optional
        'X', 'raw' or 'layers/NAME'; by default the first of them that holds counts.
    cells : int
        Cells of a source that are read at most, in blocks spread evenly; 0 = all.
    identifiers : {'auto', 'symbols', 'ensembl'}
    gene_map : path, optional
        As in `prepare`: by it genes of different names are one, and so are orthologs.
    features, soma_filter, soma_measurement, genes_in
        As in `prepare`: what of some kinds of inputs is read.
    out : path, optional
        Folder for inspect.json, report.html and figures/*.png, made if need be.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        As in inspect.json: 'sources' (a dict each), 'overlap' and 'shared_cells' (of two sources
        or more, else None), 'refused' and 'warned' (what `prepare` would say of them together),
        'unreadable' (sources that cannot be opened, and why), 'labels_asked' (as given, or None).

    Raises
    ------
    ValueError, FileNotFoundError
        No source can be read; a column that none of them has; ``out`` is a file.
    """
    given = [sources] if isinstance(sources, str | Path | anndata.AnnData) else list(sources)
    if not given:
        raise ValueError("no input: give one or more sources or stores")
    if cells < 0:
        raise ValueError(f"cells: found {cells}, expected a number of cells, or 0 for all")
    if out is not None:
        check_fillable(out, "inspect")
    labels = [labels] if isinstance(labels, str) else labels
    asked = {"labels": labels, "batch": batch, "counts": counts, "gene_map": gene_map,
             "cells": None if cells == CELLS else cells, "features": features,
             "identifiers": None if identifiers == "auto" else identifiers,
             "soma_filter": soma_filter, "soma_measurement": soma_measurement,
             "genes_in": genes_in, "out": out}  # fmt: skip
    gene_map = read_gene_map(gene_map)
    kinds = {
        "features": [features] if isinstance(features, str) else list(features),
        "value_filter": soma_filter, "measurement": soma_measurement, "genes_in": genes_in,
    }  # fmt: skip
    opened, unreadable = _opened(given, counts, kinds)
    read_from = [one for one, _ in opened if not _store(one)]
    check_features(read_from, kinds["features"] if read_from else ())
    _check_columns(opened, [*(labels or ()), *([batch] if batch else [])])
    looks, read, lost = _looks(opened, labels, batch, cells, identifiers, progress)
    if not looks:
        raise ValueError((unreadable + lost)[0]["error"])
    for look, name in zip(looks, _names(looks), strict=True):
        look.name = name
    results = {
        "sources": [look.facts() for look in looks],
        "overlap": overlap.genes(looks, gene_map) if len(looks) > 1 else None,
        "shared_cells": overlap.cells(looks) if len(looks) > 1 else None,
        **_together([look for look in looks if look.cells is not None], read, gene_map),
        "unreadable": unreadable + lost,
        "labels_asked": labels,
    }
    if out is not None:
        said = how_made(given, {name: value for name, value in asked.items() if value is not None})
        with filled_folder(out, last=("inspect.json",)) as made:
            _write(made, results, page_blocks(results, looks) + said)
    return results


def _opened(given, counts, kinds):
    """Stores, sources and what is in their places, in order; and what cannot be opened.

    list of (Store, None) or (source, {place: what its values look like})
    """
    opened, unreadable = [], []
    for one in given:
        try:
            opened += [_open(each, counts, kinds) for each in _expanded(one)]
        except (ValueError, OSError) as error:
            unreadable.append({"source": str(one), "error": str(error)})
    return opened, unreadable


def _expanded(one):
    """A store, or the sources that a path, a folder or a pattern means."""
    return [one] if is_store(one) else expand(one)


def is_store(one):
    """Whether a path, a URL or an AnnData is a store."""
    if isinstance(one, anndata.AnnData):
        return False
    return not is_source(one) if is_url(one) else (Path(one) / "store.json").is_file()


def _open(one, counts, kinds):
    """No counts given: where counts are."""
    if is_store(one):
        return Store.open(one), None
    if counts is not None:
        source = open_source(one, counts=counts, **kinds)
        return source, values.of_places(source)
    try:
        source = open_source(one, **kinds)
    except ValueError as error:
        if "no counts at 'X'" not in str(error):
            raise
        source = open_source(one, counts="raw", **kinds)
    places = values.of_places(source)
    place = values.best(places, source.counts)
    return source if place == source.counts else source.at(place), places


def _check_columns(opened, asked):
    columns = {c: None for one, _ in opened for c in (one.labels if _store(one) else one.obs)}
    for column in asked if opened else ():
        if column not in columns:
            raise ValueError(
                f"column {column!r}: none of the sources has it; they have: "
                f"{', '.join(map(str, columns))}"
            )


def _store(one):
    return isinstance(one, Store)


def _looks(opened, labels, batch, cells, identifiers, progress):
    """Looks in order, {id of a look: its source}, and what broke while it was read."""
    looks, read, lost = [], {}, []
    ranges = [blocks(one.n_cells, cells) for one, _ in opened if not _store(one)]
    total = sum(b - a for each in ranges for a, b in each)
    with bar(total, "reading", "cell", shown=progress and total > 0) as shown:
        for one, places in opened:
            if _store(one):
                looks += looks_of(one, labels)
                continue
            try:
                look = look_at(
                    one, places, most=cells, labels_asked=labels, batch=batch,
                    identifiers_by=identifiers, advance=shown.update,
                )  # fmt: skip
            except ValueError as error:  # damaged inside
                lost.append({"source": one.name, "error": str(error)})
                continue
            read[id(look)] = one
            looks.append(look)
    return looks, read, lost


def _names(looks):
    """Short names: the file's, with its folder where two files have the same."""
    short = [Path(look.name).name for look in looks]
    names = [
        "/".join(Path(look.name).parts[-2:]) if short.count(name) > 1 else name
        for look, name in zip(looks, short, strict=True)
    ]
    return [n if names.count(n) == 1 else f"{n} #{i + 1}" for i, n in enumerate(names)]


def _together(looks, read, gene_map):
    """What `prepare` would say of these sources together."""
    refused, names = [], {look.name: look.names for look in looks}
    names = {where: one for where, one in names.items() if any(one.symbols) or any(one.ensembl)}

    def vocabulary():
        known = union(names, gene_map)
        for where, one in names.items():
            match(one, known, gene_map, where=where)

    all_ = slice(None)  # what prepare will leave out is not known yet
    whole = [
        SimpleNamespace(source=read[id(look)], total=look.depth, n_genes=look.n_genes, kept=all_)
        for look in looks
        if look.read == look.n_cells
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checks = [lambda: check_species(names, gene_map), vocabulary, lambda: check_cells(whole)]
        for check in checks if names else checks[2:]:
            try:
                check()
            except ValueError as error:
                refused.append(str(error))
    return {"refused": refused, "warned": [str(one.message) for one in caught]}


def _write(out, results, page):
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (out / "inspect.json").write_text(text, encoding="utf-8")
    text = html_page.page("What lies in the sources", page, out)
    (out / "report.html").write_text(text, encoding="utf-8")
