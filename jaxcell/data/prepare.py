"""Raw counts in files → a store, in two passes of bounded memory; refuses before it writes."""

import functools
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcell import calls
from jaxcell.data import advice
from jaxcell.data.corpora.corpus import budget, held_cells, limit
from jaxcell.data.corpora.expectations import check_after, check_before, check_vocabulary
from jaxcell.data.filters import MITOCHONDRIAL, mitochondrial
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.mapping import write_mappings
from jaxcell.data.matching import match, warn_few
from jaxcell.data.orthologs import read_orthologs, translated
from jaxcell.data.preparing import refusals
from jaxcell.data.preparing.blocks import pending, run_here
from jaxcell.data.preparing.order import order_files, order_manifest
from jaxcell.data.preparing.parts import part_of
from jaxcell.data.preparing.repeats import check_cells
from jaxcell.data.preparing.survey import Asked, Surveying
from jaxcell.data.preparing.unfinished import folder_of, request_of, unfinished
from jaxcell.data.preparing.writer import write_store
from jaxcell.data.sources.features import check_features
from jaxcell.data.species import check_species
from jaxcell.data.splits import check_columns, classes, present_classes, split_cells
from jaxcell.data.store import Store
from jaxcell.data.types import Cells, StrPath
from jaxcell.data.union import union
from jaxcell.data.variable_genes import check_options, choose
from jaxcell.data.vocabulary import Vocabulary, read_vocabulary
from jaxcell.interrupts import goes_on, told
from jaxcell.progress import bar


def prepare(
    out: StrPath,
    files: Cells | Sequence[Cells] = (),
    *,
    manifest: StrPath | None = None,
    data: StrPath | None = None,
    only: str | Sequence[str] = (),
    allow_different_counts: bool = False,
    counts: str = "X",
    labels: Sequence[str] = (),
    hold_out: Sequence[str] | None = None,
    hold_out_fraction: float = 0.0,
    hold_out_file: Sequence[StrPath] = (),
    min_genes: int = 0,
    max_genes: int | None = None,
    min_total: float = 0,
    max_total: float | None = None,
    max_mito: float | None = None,
    mito_prefix: str = MITOCHONDRIAL,
    min_cells: int = 0,
    min_frequency: float = 0,
    min_dispersion: float | None = None,
    identifiers: str = "auto",
    gene_map: StrPath | None = None,
    vocabulary: Vocabulary | StrPath | None = None,
    duplicates: str = "error",
    allow_non_integer: bool = False,
    values: str = "counts",
    measured_by: str | None = None,
    hvg: int | None = None,
    hvg_flavor: str | None = None,
    hvg_batch: str | None = None,
    seed: int = 0,
    shards: int | None = None,
    progress: bool = True,
    orthologs: StrPath | None = None,
    features: Sequence[str] = (),
    soma_filter: str | None = None,
    soma_measurement: str | None = None,
    genes_in: str | None = None,
    beam: str | None = None,
) -> Store:
    """Make a store from files of raw counts.

    Cells are read and written in blocks. If it is stopped, however that happens, the same call goes
    on after the blocks that are done; see ``jaxcell.data.preparing.unfinished``.

    Parameters
    ----------
    out : path
        The store's folder; must not exist.
    files : what `open_source` opens, a folder or a pattern of these, or a list
        Each is a dataset of its own, or several by `measured_by`.
    manifest : path or str, optional
        Instead of files and of all options but those that follow and gene_map, shards, progress and
        beam: a YAML file, or the name of a shipped one; see ``jaxcell.data.corpora.fields``.
    data : path
        Folder in which the manifest's paths are looked up; by default the current one.
    only : str or list of str
        Of the manifest's sources these alone.
    allow_different_counts : bool
        Warn of numbers that differ from what the manifest expects, instead of refusing them.
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
    min_genes, max_genes, min_total, max_total, max_mito : numbers
        Leave out cells with fewer or more genes > 0, a lower or higher sum of counts, or a larger
        share (0 to 1) of it in mitochondrial genes, whose symbols begin with `mito_prefix`.
    min_cells, min_frequency, min_dispersion : numbers
        Then genes > 0 in fewer of the source's kept cells, in a smaller share of them, or with a
        lower variance over mean of their counts; see ``jaxcell.data.filters``.
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
        Runs that the cells are cut into, each a record file of each split that has cells there; by
        default one for each 65 536 cells.
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
    beam : str, optional
        Options of an Apache Beam pipeline that does the blocks, '' for its defaults; see
        ``jaxcell.data.preparing.beam``. By default this process does them.

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
    given = dict(locals())
    with advice.of_manifest(manifest):
        return _prepare(given, **given)


def _prepare(
    given, *, out, manifest, only, allow_different_counts, labels, values, duplicates,
    hold_out_fraction, hvg, hvg_flavor, hvg_batch, seed, shards, beam, progress, **_
):  # fmt: skip
    """`prepare`, its errors in terms of options; given: all of its arguments."""
    refusals.check_output(out)
    out = Path(out)
    check_options(hvg, hvg_flavor, hvg_batch)
    refusals.check_values(values, duplicates, hvg)
    refusals.check_numbers(hold_out_fraction, shards, seed)
    refusals.check_labels(labels)
    run = _engine(beam)
    if manifest is None:
        refusals.check_manifest_alone(only, allow_different_counts)
        order = order_files(given)
    else:
        order = order_manifest(given, prepare.__kwdefaults__)
    inputs, sources = order.inputs, [one.source for one in order.inputs]
    whole = [one.whole == "valid" for one in inputs]
    check_features(sources, order.features)
    check_columns(sources, whole, order.labels, order.hold_out)
    refusals.check_datasets(inputs)
    if order.manifest:
        check_before(order)
    gene_map = read_gene_map(order.gene_map)
    own = {
        one.source.name: identify(one.source.var, one.identifiers, one.source.name)
        for one in inputs
    }
    names = _translated(own, order.orthologs)
    genes = _vocabulary(order, names, gene_map)
    matches, asked = _asked(order, own, names, genes, gene_map)
    request = request_of(order.options, order.shards, genes, sources, matches, asked)
    what = functools.partial(_kept, out)
    with told(what), unfinished(out, request) as work:
        calls.keep(work.folder, "prepare", given)
        surveys = _survey(work, run, sources, matches, asked, progress)
        check_cells(surveys)
        splits = _splits(order, surveys)
        # Genes that no source measures stay only where the vocabulary was asked for.
        wanted = np.any([v.measured.any(axis=0) for v in surveys], axis=0) | bool(order.vocabulary)
        if order.hvg:
            # Which cells are for training is no part of the request: it may follow from files.
            name = f"genes-{_told(order, surveys, splits)}"
            wanted = work.kept(name, lambda: _choose(order, surveys, splits, genes, progress))
        if order.manifest:
            check_after(order, surveys, splits, wanted)
        labelled = {column: present_classes(column, surveys) for column in order.labels}
        parts = [
            part_of(
                v,
                split,
                wanted,
                labelled,
                checksum=str(work.kept(f"checksum-{i:05}", lambda v=v: v.source.content)),
                measured_by=one.measured_by,
                values=order.values,
            )
            for i, (v, split, one) in enumerate(zip(surveys, splits, inputs, strict=True))
        ]
        write_mappings(work.store, parts, names, matches, genes)
        with _bar("writing", sources, progress) as shown:
            write_store(
                work.store,
                genes.subset(wanted),
                labelled,
                parts,
                shards=order.shards,
                options=order.options,
                advance=shown.update,
                skip=shown.skip,
                results=work.results,
                run=run,
            )
    store = Store.open(out)
    if progress:
        print(store.table())
        if order.manifest and order.manifest.compute:
            print(budget(order.manifest, store.sizes["train"]))
    return store


def _kept(out):
    """What to do after Ctrl-C, where something of the store is kept."""
    return goes_on(out) if folder_of(out).exists() else ""


def _engine(beam):
    """What does the blocks: (work, tasks, advance) → None."""
    if beam is None:
        return run_here
    from jaxcell.data.preparing.beam import engine

    return engine(beam)


def _translated(names, orthologs):
    """The names of each source, those of another species' genes by their orthologs."""
    table = read_orthologs(orthologs)
    names = {source: translated(own, table) for source, own in names.items()}
    if table and not any(own.note for own in names.values()):
        raise ValueError(f"no source has the genes that {orthologs} translates (--orthologs)")
    return names


def _vocabulary(order, names, gene_map):
    """The genes that the store is made of: those asked for, or all of the sources."""
    if not order.vocabulary:
        check_species(names, gene_map)
        return union(names, gene_map)
    genes = read_vocabulary(order.vocabulary)
    if order.manifest:
        check_vocabulary(order, genes)
    return genes


def _asked(order, given, names, genes, gene_map):
    """The GeneMatch of each source, and what its survey goes by; given: names before orthologs."""
    matches, asked = [], []
    for one in order.inputs:
        where, filters, mito = one.source.name, one.filters, None
        matches.append(match(names[where], genes, gene_map, one.duplicates, where))
        warn_few(matches[-1])
        if filters.max_mito is not None:
            mito = mitochondrial(given[where], gene_map, filters.mito_prefix, where)
        more = one.wanted, one.allow_non_integer, order.values, one.measured_by
        asked.append(Asked(filters, mito, *more))
    return matches, asked


def _splits(order, surveys):
    """TRAIN, VALID or DROPPED of each cell, after the caps of a manifest."""
    held = None
    if order.manifest:
        limit(order.manifest, order.inputs, surveys)
        held = held_cells(order.manifest, order.inputs, surveys)
    splits = [
        split_cells(
            v,
            # Of a corpus the same cells of a source, whatever its other sources are: arms compare.
            i if one.key is None else zlib.crc32(one.key.encode()),
            hold_out=order.hold_out,
            fraction=order.fraction,
            whole=one.whole,
            seed=order.seed,
            held=held and held[i],
        )
        for i, (v, one) in enumerate(zip(surveys, order.inputs, strict=True))
    ]
    refusals.check_splits(splits, asked=order.splits)
    return splits


def _told(order, surveys, splits):
    """What tells these splits, and the batches that genes are chosen by, from others: a word."""
    told = hashlib.sha256(b"".join(split.tobytes() for split in splits))
    for source in (v.source for v in surveys):
        if order.hvg_batch and order.hvg_batch in source.obs:
            codes, names = classes(source.obs[order.hvg_batch])
            told.update(repr(names).encode() + codes.tobytes())
    return told.hexdigest()[:16]


def _choose(order, surveys, splits, genes, progress):
    """The most variable genes, bool [V]."""
    return choose(
        surveys,
        splits,
        genes,
        order.hvg,
        flavor=order.hvg_flavor,
        batch=order.hvg_batch,
        bar=lambda read: _bar("choosing genes", read, progress),
    )


def _survey(work, run, sources, matches, asked, progress):
    """Read each source once: a Survey of each."""
    surveying = Surveying(sources, matches, asked, work.results)
    with _bar("checking", sources, progress) as shown:
        tasks = pending(surveying, shown.skip)
        for i, source in enumerate(sources):
            source.settle(work.settled(i).absolute())
        run(surveying, tasks, shown.update)
    return surveying.surveys()


def _bar(what, sources, progress):
    cells = sum(source.n_cells for source in sources)
    return bar(cells, what, "cell", shown=progress)
