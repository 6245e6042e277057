"""What lies between the files and the writing of a store: its genes, a survey, who is held out."""

import hashlib
import zlib

import numpy as np

from jaxcell.data.corpora.corpus import held_cells, limit
from jaxcell.data.corpora.expectations import check_vocabulary
from jaxcell.data.filters import mitochondrial
from jaxcell.data.matching import match, warn_few
from jaxcell.data.orthologs import read_orthologs, translated
from jaxcell.data.preparing import refusals
from jaxcell.data.preparing.blocks import pending
from jaxcell.data.preparing.parts import part_of
from jaxcell.data.preparing.survey import Asked, Surveying
from jaxcell.data.species import check_species
from jaxcell.data.splits import classes, split_cells
from jaxcell.data.union import union
from jaxcell.data.variable_genes import choose
from jaxcell.data.vocabulary import read_vocabulary
from jaxcell.progress import bar


def translated_names(names, orthologs):
    """The names of each source, those of another species' genes by their orthologs."""
    table = read_orthologs(orthologs)
    names = {source: translated(own, table) for source, own in names.items()}
    if table and not any(own.note for own in names.values()):
        raise ValueError(f"no source has the genes that {orthologs} translates (--orthologs)")
    return names


def vocabulary_of(order, names, gene_map):
    """The genes that the store is made of: those asked for, or all of the sources."""
    if not order.vocabulary:
        check_species(names, gene_map)
        return union(names, gene_map)
    genes = read_vocabulary(order.vocabulary)
    if order.manifest:
        check_vocabulary(order, genes)
    return genes


def matched(order, given, names, genes, gene_map):
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


def splits_of(order, surveys):
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


def surveyed(work, run, sources, matches, asked, progress):
    """Read each source once: a Survey of each."""
    surveying = Surveying(sources, matches, asked, work.results)
    with cells_bar("checking", sources, progress) as shown:
        tasks = pending(surveying, shown.skip)
        for i, source in enumerate(sources):
            source.settle(work.settled(i).absolute())
        run(surveying, tasks, shown.update)
    return surveying.surveys()


def wanted_genes(work, order, surveys, splits, genes, progress):
    """The genes that the store keeps, bool [V]."""
    if order.hvg:
        # Which cells are for training is no part of the request: it may follow from files.
        name = f"genes-{_fingerprint(order, surveys, splits)}"
        return work.kept(name, lambda: _variable(order, surveys, splits, genes, progress))
    # Genes that no source measures stay only where the vocabulary was asked for.
    return np.any([v.measured.any(axis=0) for v in surveys], axis=0) | bool(order.vocabulary)


def _fingerprint(order, surveys, splits):
    """What tells these splits, and the batches that genes are chosen by, from others: a word."""
    told = hashlib.sha256(b"".join(split.tobytes() for split in splits))
    for source in (v.source for v in surveys):
        if order.hvg_batch and order.hvg_batch in source.obs:
            codes, names = classes(source.obs[order.hvg_batch])
            told.update(repr(names).encode() + codes.tobytes())
    return told.hexdigest()[:16]


def _variable(order, surveys, splits, genes, progress):
    """The most variable genes, bool [V]."""
    return choose(
        surveys,
        splits,
        genes,
        order.hvg,
        flavor=order.hvg_flavor,
        batch=order.hvg_batch,
        bar=lambda read: cells_bar("choosing genes", read, progress),
    )


def parts_of(work, order, surveys, splits, wanted, labelled):
    """The `Part` of the store that each source makes."""
    return [
        part_of(
            v,
            split,
            wanted,
            labelled,
            checksum=str(work.kept(f"checksum-{i:05}", lambda v=v: v.source.content)),
            measured_by=one.measured_by,
            values=order.values,
        )
        for i, (v, split, one) in enumerate(zip(surveys, splits, order.inputs, strict=True))
    ]


def cells_bar(what, sources, progress):
    """A bar over all cells of these sources."""
    cells = sum(source.n_cells for source in sources)
    return bar(cells, what, "cell", shown=progress)
