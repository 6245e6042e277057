"""Raw counts in files → a store, in two passes of bounded memory; refuses before it writes."""

import os
from pathlib import Path

import anndata
import numpy as np
from tqdm import tqdm

from jaxcell.data import refusals
from jaxcell.data.blocks import pending, run_here
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match, union
from jaxcell.data.parts import part_of
from jaxcell.data.sources import open_source
from jaxcell.data.splits import check_columns, parse_hold_out, present_classes, split_cells
from jaxcell.data.store import Store
from jaxcell.data.survey import Asked, Surveying
from jaxcell.data.unfinished import request_of, unfinished
from jaxcell.data.variable_genes import check_options, choose
from jaxcell.data.vocabulary import read_vocabulary
from jaxcell.data.writer import write_store


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
    beam=None,
):
    """Make a store from files of raw counts.

    Cells are read and written in blocks. If it is stopped, however that happens, the same call goes
    on after the blocks that are done; see ``jaxcell.data.unfinished``.

    Parameters
    ----------
    out : path
        The store's folder; must not exist.
    files : path, AnnData, ``'scanpy:pbmc68k_reduced'``, or a list of these
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
        there. Files without the column stay one dataset.
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
        Runs that the cells are cut into, each a record file of each split that has cells there; by
        default one for each 65 536 cells.
    progress : bool
        Show progress bars and a table of what was kept.
    beam : str, optional
        Options of an Apache Beam pipeline that does the blocks, '' for its defaults; see
        ``jaxcell.data.beam``. By default this process does them.

    Returns
    -------
    Store

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        Nothing has been written then.
    ImportError
        Beam or what a flavour needs is absent.
    """
    out = Path(out)
    refusals.check_output(out)
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
    refusals.check_values(values, duplicates, hvg)
    refusals.check_numbers(hold_out_fraction, min_genes, min_cells, shards)
    run = _engine(beam)
    sources, whole = _open_all(files, hold_out_file, counts)
    check_columns(sources, whole, labels, hold_out)
    refusals.check_datasets(sources, measured_by)
    gene_map = read_gene_map(gene_map)
    names = {s.name: identify(s.var, identifiers, s.name) for s in sources}
    genes = read_vocabulary(vocabulary) if vocabulary else union(names, gene_map)
    matches = [match(names[s.name], genes, gene_map, duplicates, s.name) for s in sources]
    asked = Asked(min_genes, min_cells, allow_non_integer, values, measured_by)
    with unfinished(out, request_of(options, shards, genes, sources, matches)) as work:
        surveys = _survey(work, run, sources, matches, asked, progress)
        splits = [
            split_cells(
                v, i, hold_out=hold_out, fraction=hold_out_fraction, whole_file=w, seed=seed
            )
            for i, (v, w) in enumerate(zip(surveys, whole, strict=True))
        ]
        refusals.check_splits(splits, asked=bool(hold_out or hold_out_fraction or any(whole)))
        # Genes that no source measures stay only where the vocabulary was asked for.
        wanted = np.any([v.measured.any(axis=0) for v in surveys], axis=0) | bool(vocabulary)
        if hvg:
            how = {"flavor": hvg_flavor, "batch": hvg_batch}
            how["bar"] = lambda read: _bar("choosing genes", read, progress)
            wanted = work.kept("genes", lambda: choose(surveys, splits, genes, hvg, **how))
        classes = {column: present_classes(column, surveys) for column in labels}
        parts = [
            part_of(
                v,
                split,
                wanted,
                classes,
                checksum=str(work.kept(f"checksum-{i:05}", lambda v=v: v.source.content)),
                measured_by=measured_by,
                values=values,
            )
            for i, (v, split) in enumerate(zip(surveys, splits, strict=True))
        ]
        with _bar("writing", sources, progress) as bar:
            write_store(
                work.store,
                genes.subset(wanted),
                classes,
                parts,
                shards=shards,
                options=options,
                advance=bar.update,
                results=work.results,
                run=run,
            )
    store = Store.open(out)
    if progress:
        print(store.table())
    return store


def _engine(beam):
    """What does the blocks: (work, tasks, advance) → None."""
    if beam is None:
        return run_here
    from jaxcell.data.beam import engine

    return engine(beam)


def _open_all(files, hold_out_file, counts):
    """Sources, each under a name of its own, and whether each is wholly for validation."""
    files, held = _listed(files), _listed(hold_out_file)
    held_places = [_place(file) for file in held]
    places = [_place(file) for file in files]
    for file, place in zip(files, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{file} is given twice")
    files += [file for file in held if _place(file) not in places]
    if not files:
        raise ValueError("no input: give one or more files of raw counts")
    sources = [open_source(file, counts=counts) for file in files]
    for source, file in zip(sources, files, strict=True):
        if not isinstance(file, anndata.AnnData):  # how other processes open it, wherever they are
            source.spec = os.path.abspath(file) if Path(file).exists() else str(file)
    in_memory = [source for source in sources if source.name == "AnnData"]
    for number, source in enumerate(in_memory if len(in_memory) > 1 else [], 1):
        source.name = f"AnnData {number}"
    return sources, [_place(file) in held_places for file in files]


def _listed(files):
    return [files] if isinstance(files, str | Path | anndata.AnnData) else list(files)


def _place(file):
    """The same for two spellings of a path: no file may be in both splits."""
    return id(file) if isinstance(file, anndata.AnnData) else os.path.realpath(file)


def _survey(work, run, sources, matches, asked, progress):
    """Read each source once: a Survey of each."""
    surveying = Surveying(sources, matches, asked, work.results)
    with _bar("checking", sources, progress) as bar:
        tasks = pending(surveying, bar.update)
        for i, source in enumerate(sources):
            source.settle(work.settled(i).absolute())
        run(surveying, tasks, bar.update)
    return surveying.surveys()


def _bar(what, sources, progress):
    cells = sum(source.n_cells for source in sources)
    return tqdm(total=cells, desc=what, unit="cell", unit_scale=True, disable=not progress)
