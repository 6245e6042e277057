"""Raw counts in files → a store, in two passes of bounded memory; refuses before it writes."""

import contextlib
import os
import shutil
from pathlib import Path

import anndata
import numpy as np
from tqdm import tqdm

from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.mapping import write_mapping
from jaxcell.data.matching import match
from jaxcell.data.orthologs import read_orthologs, translated
from jaxcell.data.records import MAX_DATASETS
from jaxcell.data.sources import expand, open_source
from jaxcell.data.sources.features import check_features
from jaxcell.data.sources.presence import column_of
from jaxcell.data.splits import (
    TRAIN,
    VALID,
    check_columns,
    label_codes,
    lacking,
    missing_values,
    parse_hold_out,
    present_classes,
    split_cells,
)
from jaxcell.data.store import VALUES, Store
from jaxcell.data.survey import divide, survey
from jaxcell.data.union import union
from jaxcell.data.variable_genes import check_options, choose
from jaxcell.data.vocabulary import read_vocabulary
from jaxcell.data.writer import Part, write_store


def prepare(
    out,
    files,
    *,
    counts="X",
    labels=(),
    hold_out=None,
    hold_out_fraction=0.0,
    hold_out_file=(),
    min_genes=0,
    min_cells=0,
    identifiers="auto",
    gene_map=None,
    vocabulary=None,
    duplicates="error",
    allow_non_integer=False,
    values="counts",
    measured_by=None,
    hvg=None,
    hvg_flavor=None,
    hvg_batch=None,
    seed=0,
    shards=None,
    progress=True,
    orthologs=None,
    features=(),
    soma_filter=None,
    soma_measurement=None,
    genes_in=None,
):
    """Make a store from files of raw counts.

    Parameters
    ----------
    out : path
        The store's folder; must not exist.
    files : what `open_source` opens, a folder or a pattern of these, or a list
        Each is a dataset of its own, or several by `measured_by`.
    counts : str
        Where the raw counts are: 'X', 'raw' or 'layers/NAME'.
    labels : list of str
        obs columns to keep as classes; NaN, '', nan, na, n/a, none and unknown (in any case) are
        no classes: these cells' label is unknown, and they are counted.
    hold_out : list of str
        'column=value' of obs: these cells are for validation.
    hold_out_fraction : float
        Share of the remaining cells drawn for validation, by seed and the cell's position.
    hold_out_file : list of paths
        Files whose cells are all for validation (added to `files` where not among them).
    min_genes, min_cells : int
        Leave out cells with fewer genes > 0; then genes > 0 in fewer of the source's kept cells.
    identifiers : {'auto', 'symbols', 'ensembl'}
        Which names of the genes to go by.
    gene_map : path, optional
        Tab-separated ensembl, symbol, aliases; by default what JAXCELL_GENES names.
    vocabulary : Vocabulary or path, optional
        Genes of the store: a vocabulary.json, a store or model folder, or a text file with a gene
        per line. By default all genes of the files. With `hvg`, genes are chosen among these.
    duplicates : {'error', 'sum', 'first'}
        What to do with genes that stand in several columns.
    allow_non_integer : bool
        Take non-integer values as they are, with a warning.
    values : {'counts', 'log1p'}
        What the files hold: raw counts, or values that are ln(1 + normalised count) already, as
        GEARS' files. A store of these is for configs with data.normalise.given = 'log1p' alone.
    measured_by : str, optional
        obs column of merged files whose batches had different panels. Each of its values is a
        dataset of its own, and a gene without any count in a value's kept cells is not measured
        there. Files without the column stay one dataset. Of the Census it is 'dataset_id' by
        default, and its presence matrix says which genes a dataset measured.
    hvg : int, optional
        Keep so many highly variable genes, chosen over all files by their kept training cells, in
        the vocabulary's order. All of them are read once more for it, or twice (seurat_v3).
    hvg_flavor : {'seurat', 'cell_ranger', 'seurat_v3', 'bioformer'}, optional
        scanpy's flavours, or the variance of BioFormer; see ``jaxcell.data.variable_genes``. By
        default 'seurat'.
    hvg_batch : str, optional
        obs column of scanpy's batches, among which its flavours count in how many a gene is
        variable; a value is one batch in all files. By default each dataset is one.
    seed : int
        Of the random fraction.
    shards : int, optional
        Record files of each split.
    progress : bool
        Show progress bars and a table of what was kept.
    orthologs : path, optional
        Tab-separated their gene, our gene: the genes of files of another species are taken for
        their one-to-one orthologs, and their other genes are left out.
    features : list of str
        Types of features (10x's feature_types) to keep beside genes, such as 'Antibody Capture'.
    soma_filter, soma_measurement : str, optional
        Cells ("tissue == 'lung'") and measurement ('RNA') of SOMA experiments.
    genes_in : {'rows', 'columns'}, optional
        Where bulk tables have their genes, if their names do not say it.

    Returns
    -------
    Store

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        Nothing has been written then.
    """
    out = Path(out)
    _check_output(out)
    check_options(hvg, hvg_flavor, hvg_batch)
    hvg_flavor = (hvg_flavor or "seurat") if hvg else None
    labels = [labels] if isinstance(labels, str) else list(labels)
    hold_out = parse_hold_out(hold_out)
    options = {
        "counts": counts, "labels": labels, "hold_out": list(map("=".join, hold_out)),
        "hold_out_fraction": hold_out_fraction,
        "min_genes": min_genes, "min_cells": min_cells, "identifiers": identifiers,
        "duplicates": duplicates, "allow_non_integer": allow_non_integer, "values": values,
        "measured_by": measured_by, "hvg": hvg, "hvg_flavor": hvg_flavor,
        "hvg_batch": hvg_batch, "seed": seed,
    }  # fmt: skip
    kinds = {
        "features": [features] if isinstance(features, str) else list(features),
        "value_filter": soma_filter, "measurement": soma_measurement, "genes_in": genes_in,
    }  # fmt: skip
    options |= {name: given for name, given in kinds.items() if given}
    _check_values(values, duplicates, hvg)
    if not 0 <= hold_out_fraction < 1:
        raise ValueError(f"hold_out_fraction is {hold_out_fraction}; expected 0 <= fraction < 1")
    for name, fewest in (("min_genes", min_genes), ("min_cells", min_cells)):
        if fewest < 0:
            raise ValueError(f"{name} is {fewest}; expected 0 or more")
    if shards is not None and shards < 1:
        raise ValueError(f"shards is {shards}; expected 1 or more")
    sources, whole = _open_all(files, hold_out_file, counts, kinds)
    check_features(sources, kinds["features"])
    options["measured_by"] = measured_by = measured_by or column_of(sources)
    check_columns(sources, whole, labels, hold_out)
    _check_datasets(sources, measured_by)
    gene_map = read_gene_map(gene_map)
    table = read_orthologs(orthologs)
    names = {s.name: translated(identify(s.var, identifiers, s.name), table) for s in sources}
    if table and not any(n.note for n in names.values()):
        raise ValueError(f"no source has the genes that {orthologs} translates (--orthologs)")
    genes = read_vocabulary(vocabulary) if vocabulary else union(names, gene_map)
    matches = [match(names[s.name], genes, gene_map, duplicates, s.name) for s in sources]
    with _bar("checking", sources, progress) as bar:
        surveys = [
            survey(
                source,
                found,
                min_genes=min_genes,
                min_cells=min_cells,
                allow_non_integer=allow_non_integer,
                values=values,
                measured_by=measured_by,
                advance=bar.update,
            )
            for source, found in zip(sources, matches, strict=True)
        ]
    splits = [
        split_cells(v, i, hold_out=hold_out, fraction=hold_out_fraction, whole_file=w, seed=seed)
        for i, (v, w) in enumerate(zip(surveys, whole, strict=True))
    ]
    _check_splits(splits, asked=bool(hold_out or hold_out_fraction or any(whole)))
    # Genes that no source measures stay only where the vocabulary was asked for.
    wanted = np.any([v.measured.any(axis=0) for v in surveys], axis=0) | bool(vocabulary)
    if hvg:
        wanted = choose(
            surveys,
            splits,
            genes,
            hvg,
            flavor=hvg_flavor,
            batch=hvg_batch,
            bar=lambda read: _bar("choosing genes", read, progress),
        )
    classes = {column: present_classes(column, surveys) for column in labels}
    given = {"measured_by": measured_by, "values": values}
    parts = [_part(v, s, wanted, classes, **given) for v, s in zip(surveys, splits, strict=True)]
    with _unfinished(out) as folder, _bar("writing", sources, progress) as bar:
        for part, found in zip(parts, matches, strict=True):
            source = part.source
            told = write_mapping(folder, names[source.name], found, genes)
            for facts in part.facts:
                facts |= {"mapping": told, "left_out": source.left_out}
        write_store(
            folder,
            genes.subset(wanted),
            classes,
            parts,
            shards=shards,
            options=options,
            advance=bar.update,
        )
    store = Store.open(out)
    if progress:
        print(store.table())
    return store


def _open_all(files, hold_out_file, counts, kinds):
    """Sources, each under a name of its own, and whether each is wholly for validation."""
    files, held = expand(files), expand(hold_out_file)
    held_places = [_place(file) for file in held]
    places = [_place(file) for file in files]
    for file, place in zip(files, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{file} is given twice")
    files += [file for file in held if _place(file) not in places]
    if not files:
        raise ValueError("no input: give one or more files of raw counts")
    given = {option: value for option, value in kinds.items() if value}
    sources = [open_source(file, counts=counts, **given) for file in files]
    in_memory = [source for source in sources if source.name == "AnnData"]
    for number, source in enumerate(in_memory if len(in_memory) > 1 else [], 1):
        source.name = f"AnnData {number}"
    return sources, [_place(file) in held_places for file in files]


def _place(file):
    """The same for two spellings of a path: no file may be in both splits."""
    return (
        id(file)
        if isinstance(file, anndata.AnnData)
        else os.path.realpath(str(file).removeprefix("soma:"))
    )


def _check_output(out):
    if out.exists():
        raise FileExistsError(f"{out} exists already: remove it, or choose another output")
    parent = next(p for p in out.absolute().parents if p.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ValueError(f"{out} cannot be made: {parent} is not a folder one can write to")


def _check_values(values, duplicates, hvg):
    if values not in VALUES:
        raise ValueError(f"values is {values!r}; known: {', '.join(VALUES)}")
    for name, wrong in (("duplicates", duplicates == "sum"), ("hvg", hvg)):
        if values == "log1p" and wrong:
            raise ValueError(
                f"values is 'log1p' with {name} = {hvg if name == 'hvg' else duplicates!r}; "
                f"expected no such {name}: it is for counts, not for their logarithms"
            )


def _check_datasets(sources, measured_by):
    if measured_by and all(measured_by not in source.obs for source in sources):
        raise ValueError(f"column {measured_by!r}: {lacking(sources[0])} (--measured-by)")
    datasets = sum(len(divide(source, measured_by)[1]) for source in sources)
    if datasets > MAX_DATASETS:
        raise ValueError(
            f"{datasets} datasets of {len(sources)} files; a store takes {MAX_DATASETS} at most"
        )


def _check_splits(splits, asked):
    if not any((s == TRAIN).any() for s in splits):
        raise ValueError("no cell is left for training: hold out fewer (--hold-out …)")
    if asked and not any((s == VALID).any() for s in splits):
        raise ValueError(
            "no cell is left for validation: all held-out cells fell below --min-genes, or the "
            "fraction is too small for so few cells"
        )


def _part(v, split, wanted, classes, measured_by, values):
    """A source as the writer takes it: columns renumbered to the wanted genes [V before]."""
    new = np.where(v.filtered & wanted, np.cumsum(wanted) - 1, -1)
    columns = np.where(v.match.columns >= 0, new[v.match.columns], -1).astype(np.int32)
    source, n_var = v.source, len(v.match.columns)
    facts = {
        "source": source.name,
        "counts": source.counts,
        "values": values,
        "checksum": source.checksum(),
        "genes": n_var,
        "unmatched": len(v.match.unmatched),
        "duplicated": len(v.match.duplicated),
        "below_min_cells": v.match.n_matched - int(v.filtered.sum()),
        "non_integer": v.looks,
        "without_labels": [column for column in classes if column not in source.obs],
        "missing_values": missing_values(v, classes),
        "match": v.match.report(),
    }
    each = []
    for i, value in enumerate(v.values):
        mine = v.dataset == i
        each.append(
            {
                **facts,
                "measured_by": measured_by if value else None,
                "value": value,
                "cells": int(mine.sum()),
                "below_min_genes": int((mine & ~v.kept).sum()),
                "train": int((mine & (split == TRAIN)).sum()),
                "valid": int((mine & (split == VALID)).sum()),
                "undetected": int((v.filtered & ~v.measured[i]).sum()),
                "not_chosen": int((v.measured[i] & ~wanted).sum()),
                "measured": int((v.measured[i] & wanted).sum()),
            }
        )
    codes = [label_codes(source, column, names) for column, names in classes.items()]
    labels = np.stack(codes, axis=1) if codes else np.empty((source.n_cells, 0), np.int32)
    return Part(source, columns, v.measured[:, wanted], v.dataset, split, v.total, labels, each)


@contextlib.contextmanager
def _unfinished(out):
    """A folder beside `out` that becomes `out` at the end, or goes if anything is raised."""
    folder = out.parent / f".{out.name}.unfinished-{os.getpid()}"
    for left in sorted(out.parent.glob(f".{out.name}.unfinished-*")):
        # Not removed: its process may live on another machine that shares these disks.
        print(f"{left} was left by a prepare that was killed; remove it, unless one is at work")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            raise FileExistsError(f"{out} appeared while it was being prepared; nothing is kept")
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _bar(what, sources, progress):
    cells = sum(source.n_cells for source in sources)
    return tqdm(total=cells, desc=what, unit="cell", unit_scale=True, disable=not progress)
