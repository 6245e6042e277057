"""Raw counts in files → a store, in two passes of bounded memory; refuses before it writes."""

import functools
from collections.abc import Sequence
from pathlib import Path

from jaxcell import calls
from jaxcell.data import advice
from jaxcell.data.corpora.corpus import budget
from jaxcell.data.corpora.expectations import check_after, check_before
from jaxcell.data.filters import MITOCHONDRIAL
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.mapping import write_mappings
from jaxcell.data.preparing import decisions, refusals
from jaxcell.data.preparing.blocks import run_here
from jaxcell.data.preparing.order import order_files, order_manifest
from jaxcell.data.preparing.repeats import check_cells
from jaxcell.data.preparing.unfinished import folder_of, request_of, unfinished
from jaxcell.data.preparing.writer import write_store
from jaxcell.data.sources.features import check_features
from jaxcell.data.splits import check_columns, present_classes
from jaxcell.data.store import Store
from jaxcell.data.types import Cells, StrPath
from jaxcell.data.variable_genes import check_options
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.interrupts import goes_on, told


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
    given, *, out, labels, values, duplicates, hold_out_fraction, hvg, hvg_flavor, hvg_batch, seed,
    shards, beam, progress, **_
):  # fmt: skip
    """`prepare`, its errors in terms of options; given: all of its arguments."""
    refusals.check_output(out)
    out = Path(out)
    check_options(hvg, hvg_flavor, hvg_batch)
    refusals.check_values(values, duplicates, hvg)
    refusals.check_numbers(hold_out_fraction, shards, seed)
    refusals.check_labels(labels)
    run = _engine(beam)
    order = _ordered(given)
    sources = [one.source for one in order.inputs]
    gene_map = read_gene_map(order.gene_map)
    own = {
        one.source.name: identify(one.source.var, one.identifiers, one.source.name)
        for one in order.inputs
    }
    names = decisions.translated_names(own, order.orthologs)
    genes = decisions.vocabulary_of(order, names, gene_map)
    matches, asked = decisions.matched(order, own, names, genes, gene_map)
    request = request_of(order.options, order.shards, genes, sources, matches, asked)
    with told(functools.partial(_kept, out)), unfinished(out, request) as work:
        calls.keep(work.folder, "prepare", given)
        surveys = decisions.surveyed(work, run, sources, matches, asked, progress)
        check_cells(surveys)
        splits = decisions.splits_of(order, surveys)
        wanted = decisions.wanted_genes(work, order, surveys, splits, genes, progress)
        if order.manifest:
            check_after(order, surveys, splits, wanted)
        labelled = {column: present_classes(column, surveys) for column in order.labels}
        parts = decisions.parts_of(work, order, surveys, splits, wanted, labelled)
        write_mappings(work.store, parts, names, matches, genes)
        with decisions.cells_bar("writing", sources, progress) as shown:
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


def _ordered(given):
    """The `Order` of files or of a manifest, whose sources have what it names."""
    if given["manifest"] is None:
        refusals.check_manifest_alone(given["only"], given["allow_different_counts"])
        order = order_files(given)
    else:
        order = order_manifest(given, prepare.__kwdefaults__)
    sources = [one.source for one in order.inputs]
    whole = [one.whole == "valid" for one in order.inputs]
    check_features(sources, order.features)
    check_columns(sources, whole, order.labels, order.hold_out)
    refusals.check_datasets(order.inputs)
    if order.manifest:
        check_before(order)
    return order


def _kept(out):
    """What to do after Ctrl-C, where something of the store is kept."""
    return goes_on(out) if folder_of(out).exists() else ""


def _engine(beam):
    """What does the blocks: (work, tasks, advance) → None."""
    if beam is None:
        return run_here
    from jaxcell.data.preparing.beam import engine

    return engine(beam)
