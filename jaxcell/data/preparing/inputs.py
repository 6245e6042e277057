"""The sources of a manifest as `prepare` reads them: found, opened, with labels as asked for."""

import warnings
from dataclasses import dataclass, field

import numpy as np

from jaxcell.data.corpora.caps import drawn_share
from jaxcell.data.corpora.labelling import read_changes, relabelled
from jaxcell.data.corpora.manifest import Entry, Manifest
from jaxcell.data.corpora.places import beside, found_files, key_of
from jaxcell.data.filters import Filters
from jaxcell.data.ontology_reading import CELLXGENE, read_ontology
from jaxcell.data.sources import open_source
from jaxcell.data.sources.opening import place_of
from jaxcell.data.sources.presence import column_of
from jaxcell.data.splits import classes, lacking


@dataclass
class Input:
    """A source and how to read it.

    source : opened source, whose obs has the labels under the corpus' names
    identifiers, duplicates, allow_non_integer, measured_by : as `prepare` takes them
    filters : Filters
    whole : 'train', 'valid' or None: what all its cells are for
    wanted : bool [n_cells], cells that are looked at, or None for all
    dataset, datasets : i32 [n_cells] and names, the datasets that splits and caps go by
    entry, key : Entry of the manifest, and a name of its file that does not depend on where the
        data folder is; or None
    """

    source: object
    identifiers: str = "auto"
    duplicates: str = "error"
    allow_non_integer: bool = False
    measured_by: str | None = None
    filters: Filters = field(default_factory=Filters)
    whole: str | None = None
    wanted: np.ndarray | None = None
    dataset: np.ndarray | None = None
    datasets: list = field(default_factory=list)
    entry: Entry | None = None
    key: str | None = None


def open_inputs(manifest: Manifest, data, only=()):
    """Open the sources of a manifest.

    Parameters
    ----------
    manifest, data, only
        As in `found_files`.

    Returns
    -------
    list of Input, one per file

    Raises
    ------
    FileNotFoundError, ValueError
        As ``jaxcell.data.corpora.places.found_files`` and `open_source`; an obs column that is not
        there, a value to keep that no cell of a source has, or labels that are no terms of the
        ontology.
    """
    found = found_files(manifest, data, only)
    maps, ontologies = _label_options(manifest, data)
    inputs, homes = [], {}  # where a file is named first: its datasets are those of that source
    for entry, paths in found:
        sources = [open_source(path, counts=entry.counts, **entry.kind) for path in paths]
        _check_columns(entry, sources)
        _check_measured_by(entry, manifest.labels)
        keys = [key_of(path, entry, data) for path in paths]
        # By the file's own columns, before labels take their places.
        chosen = [
            _wanted(source, entry, key, manifest.seed)
            for source, key in zip(sources, keys, strict=True)
        ]
        if not any(wanted is None or wanted.any() for wanted in chosen):
            found = f"keep {entry.keep} and share {entry.share:g}"
            raise ValueError(f"{entry.at}: found {found}, expected one cell at least for these")
        for source, key, wanted in zip(sources, keys, chosen, strict=True):
            if wanted is not None and not wanted.any():
                warnings.warn(
                    f"{entry.at}: no cell of {source.name} is to be kept: it is left out",
                    stacklevel=4,
                )
                continue
            home, its_key = homes.setdefault(place_of(source.spec), (entry.name, key))
            dataset, datasets = _divided(source, entry, home, its_key)
            _label(source, entry, manifest, maps, ontologies)
            inputs.append(
                Input(
                    source,
                    identifiers=entry.identifiers,
                    duplicates=entry.duplicates,
                    allow_non_integer=entry.allow_non_integer,
                    measured_by=entry.measured_by or column_of([source]),
                    filters=entry.filters,
                    whole=entry.split,
                    wanted=wanted,
                    dataset=dataset,
                    datasets=datasets,
                    entry=entry,
                    key=key,
                )
            )
    _name_apart(inputs)
    return inputs


def _name_apart(inputs):
    """Tell sources of one file apart, each by its entry: by their names stores know them."""
    names = [one.source.name for one in inputs]
    for one, name in zip(inputs, names, strict=True):
        if names.count(name) > 1:
            one.source.name = f"{name} ({one.entry.name})"


def _label_options(manifest, data):
    """{label: changes} and {label: Ontology or None}."""
    maps, ontologies, read = {}, {}, {None: None}
    for name, options in manifest.labels.items():
        given, path = options.get("map", {}), options.get("ontology")
        if isinstance(given, str):
            given = beside(given, manifest, data)
        maps[name] = read_changes(given, f"{manifest.file}: labels.{name}.map")
        if path not in read:
            read[path] = read_ontology(path if path == CELLXGENE else beside(path, manifest, data))
        ontologies[name] = read[path]
    return maps, ontologies


def _check_columns(entry, sources):
    """Columns that the entry names must be in each of its files, values to keep in one."""
    named = {f"labels.{k}": v for k, v in entry.labels.items() if v is not None}
    named |= {"dataset": entry.dataset, "measured_by": entry.measured_by}
    named |= {f"keep.{column}": column for column in entry.keep}
    for where, column in named.items():
        for source in sources if column else ():
            if column not in source.obs:
                raise ValueError(f"{entry.at}.{where}: found {column!r}: {lacking(source)}")
    for column, values in entry.keep.items():
        there = sorted({name for source in sources for name in classes(source.obs[column])[1]})
        absent = [value for value in values if value not in there]
        if absent:
            raise ValueError(
                f"{entry.at}.keep.{column}: found {absent[0]!r}, expected some of the column's "
                f"values: {', '.join(there[:20])}{' …' if len(there) > 20 else ''}"
            )


def _check_measured_by(entry, labels):
    """The column that says what was measured is the file's own, in every process that reads it."""
    name = entry.measured_by
    options = labels.get(name, {})
    if name in labels and (
        entry.labels.get(name, name) != name or options.get("map") or options.get("ontology")
    ):
        raise ValueError(
            f"{entry.at}.measured_by: found {name!r}, a label that is mapped; expected a column "
            "as the file has it"
        )


def _label(source, entry, manifest, maps, ontologies):
    """Give the source's obs the labels under their names, mapped; drop what is none."""
    obs = source.obs.copy(deep=False)
    columns = {name: entry.labels.get(name, name) for name in manifest.labels}
    for name, column in columns.items():
        if column is None:
            if name in obs:
                del obs[name]
        elif column in source.obs:
            unresolved = manifest.labels[name].get("unresolved", "error")
            where = f"{entry.at}: {source.name}, {column}"
            obs[name] = relabelled(
                source.obs[column], maps[name], ontologies[name], unresolved, where
            )
    source.obs = obs


def _wanted(source, entry, key, seed):
    """Cells with the values to keep, and of these the share that is drawn; None for all."""
    if not entry.keep and entry.share == 1:
        return None
    wanted = np.ones(source.n_cells, bool)
    for column, values in entry.keep.items():
        codes, names = classes(source.obs[column])
        wanted &= np.isin(codes, [i for i, name in enumerate(names) if name in values])
    if entry.share < 1:
        wanted &= drawn_share(key, source.n_cells, seed, entry.share)
    return wanted


def _divided(source, entry, home, key):
    """Dataset of each cell i32 [n_cells], and their names: the file, or the values of a column.

    home, key : the entry that names the file first, and the file's name there: what two entries
        take of a dataset is one dataset, which is held out as a whole
    """
    if not entry.dataset:
        return np.zeros(source.n_cells, np.int32), [key]
    codes, names = classes(source.obs[entry.dataset])
    if (codes < 0).any():
        raise ValueError(
            f"{entry.at}.dataset: found {(codes < 0).sum():,} of {source.n_cells:,} cells of "
            f"{source.name} without a value of {entry.dataset}, expected one for each"
        )
    return codes, [f"{home}/{name}" for name in names]
