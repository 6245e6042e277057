"""A file of raw counts as it is in place of a store: for a first look, without conversion.

V = genes, L = label columns. The file is read once, with all the checks of `prepare`, and once more
for what training asks of a store: gene statistics and an index, both in memory. After that each
batch's cells are read where they lie in the file, which takes longer the more the file is
compressed, and the larger its chunks are.
"""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from jaxcell.data.advice import of_config
from jaxcell.data.filters import Filters
from jaxcell.data.genes import identify, read_gene_map
from jaxcell.data.matching import match, project
from jaxcell.data.preparing import gene_sums, refusals
from jaxcell.data.preparing.blocks import pending, run_here
from jaxcell.data.preparing.inputs import Input
from jaxcell.data.preparing.parts import part_of
from jaxcell.data.preparing.repeats import check_cells
from jaxcell.data.preparing.survey import Asked, Surveying
from jaxcell.data.preparing.unfinished import Results
from jaxcell.data.records import Rows
from jaxcell.data.remote import is_url
from jaxcell.data.sources import PBMC68K, open_source
from jaxcell.data.sources.opening import KINDS
from jaxcell.data.species import check_species
from jaxcell.data.splits import TRAIN, check_columns, parse_hold_out, present_classes, split_cells
from jaxcell.data.store import SPLITS, Store, dataset_name, panel_width
from jaxcell.data.union import union
from jaxcell.progress import bar


class Unprepared(Store):
    """What `Store` gives, of a source of raw counts; ``records`` alone is not there.

    Cells come in the order of the source, as in a store of it; the same options give the same
    vocabulary, labels, splits and batches. It can be pickled where the source is a file.

    Parameters
    ----------
    spec : what `open_source` opens
    labels, hold_out, hold_out_fraction, min_genes, min_cells, allow_non_integer, values,
    measured_by, seed, counts
        As `prepare` takes them.
    progress : bool

    Attributes
    ----------
    columns : i32 [columns of the source]
        Gene of each; −1 = left out. The others are those of `Store`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `prepare` does.
    """

    def __init__(
        self,
        spec,
        *,
        counts="X",
        labels=(),
        hold_out=(),
        hold_out_fraction=0.0,
        min_genes=0,
        min_cells=0,
        allow_non_integer=False,
        values="counts",
        measured_by=None,
        seed=0,
        progress=True,
    ):
        refusals.check_values(values, "error", None)
        refusals.check_numbers(hold_out_fraction, None)
        filters = Filters(min_genes=min_genes, min_cells=min_cells)
        filters.check_values(values)
        source, hold_out = open_source(spec, counts=counts), parse_hold_out(hold_out)
        if not measured_by and source.presence:
            measured_by = source.presence.column
        check_columns([source], [False], labels, hold_out)
        refusals.check_datasets([Input(source, measured_by=measured_by)])
        names, gene_map = identify(source.var, "auto", source.name), read_gene_map(None)
        check_species({source.name: names}, gene_map)
        genes = union({source.name: names}, gene_map)
        found = match(names, genes, gene_map, "error", source.name)
        asked = Asked(filters, None, None, allow_non_integer, values, measured_by)
        with _bar("checking", source, progress) as shown:
            surveying = Surveying([source], [found], [asked], Results())
            run_here(surveying, pending(surveying), shown.update)
        (survey,) = surveying.surveys()
        check_cells([survey])
        how = dict(hold_out=hold_out, fraction=hold_out_fraction, whole=None, seed=seed)
        split = split_cells(survey, 0, **how)
        refusals.check_splits([split], asked=bool(hold_out or hold_out_fraction))
        wanted = survey.measured.any(axis=0)
        self.path, self._hvg, self._stamp = Path(source.name), {}, source.stamp()
        self.vocabulary = genes.subset(wanted)
        self.labels = {column: present_classes(column, [survey]) for column in labels}
        given = dict(checksum=self._stamp, measured_by=measured_by, values=values)
        self._part = part_of(survey, split, wanted, self.labels, **given)
        self.columns = self._part.columns
        self._describe()
        with _bar("counting genes", source, progress) as shown:
            self._count(shown.update)

    def _describe(self):
        part, sets = self._part, {}
        self.datasets = part.facts
        for facts, genes in zip(self.datasets, part.measured, strict=True):
            facts["gene_set"] = sets.setdefault(genes.tobytes(), len(sets))
        self.measured = np.stack([np.frombuffer(key, bool) for key in sets])
        self.names = [
            dataset_name(d["source"], d["measured_by"], d["value"]) for d in self.datasets
        ]
        self.gene_set = np.array([d["gene_set"] for d in self.datasets], np.int32)
        self._cells = {name: np.flatnonzero(part.split == s) for s, name in enumerate(SPLITS)}
        self.sizes = {name: len(cells) for name, cells in self._cells.items()}
        content = hashlib.sha256(f"{self.vocabulary.sha256} {json.dumps(self.labels)}".encode())
        for array in (part.split, part.dataset, part.labels, self.measured):
            content.update(array.tobytes())
        content.update(self._stamp.encode())
        self.content_hash = content.hexdigest()

    def _count(self, advance):
        """Gene statistics of the training cells, and how many genes each cell has."""
        part, n_genes, start = self._part, [], 0
        sums = gene_sums.GeneSums(len(self.vocabulary))
        for chunk in part.source.chunks():
            cells = project(chunk, part.columns, len(self.vocabulary))
            n_genes.append(np.diff(cells.indptr))
            rows = slice(start, start + len(n_genes[-1]))
            training, dataset = part.split[rows] == TRAIN, part.dataset[rows]
            for one in np.unique(dataset[training]).tolist():
                mine = training & (dataset == one)
                sums.add(one, cells[np.flatnonzero(mine)], part.total[rows][mine])
            start = rows.stop
            advance(chunk.shape[0])
        self._n_genes = np.concatenate(n_genes).astype(np.int32)
        self.stats = gene_sums.empty(len(self.datasets), len(self.vocabulary))
        gene_sums.unpack(sums.packed(), self.stats)
        self.max_nonzero = int(self._n_genes[part.split >= 0].max())
        self.panel_width = panel_width(self.max_nonzero)

    def __reduce__(self):
        return _restored, (self.__dict__,)

    def index(self, split, column):
        """A column of a split, see `Store.index`; in memory."""
        self._check_index(split, column)
        part = self._part
        whole = {
            "dataset": part.dataset, "labels": part.labels, "total": part.total,
            "n_genes": self._n_genes,
        }  # fmt: skip
        return whole[column][self._cells[split]]

    def records(self, split, positions):
        """There are none."""
        raise ValueError(f"{self.path} has no records: it is not a store")

    def read(self, split, positions):
        """Cells at some positions of a split, in that order, as `Rows`."""
        cells, part = self._cells[split][np.asarray(positions, np.int64)], self._part
        if not len(cells):
            found = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
        else:
            matrix = project(part.source.rows(cells), part.columns, len(self.vocabulary))
            found = (
                matrix.indptr.astype(np.int64),
                matrix.indices.astype(np.int32),
                matrix.data.astype(np.float32),
            )
        return Rows(*found, part.dataset[cells], part.total[cells], part.labels[cells])

    def verify(self, records=True):
        """Raise ValueError where the file has changed since it was opened."""
        if (found := self._part.source.stamp()) != self._stamp:
            raise ValueError(
                f"{self.path} has changed: {found}; it was {self._stamp}; leave it as it is "
                "while a run reads it"
            )


def _restored(state):
    store = Unprepared.__new__(Unprepared)
    vars(store).update(state)
    return store


def is_source(path):
    """Whether a path or name is one of raw counts, and not of a store."""
    name, path = str(path), Path(path)
    if name == PBMC68K or name.partition(":")[0] in KINDS:
        return True
    if is_url(name) or (path / "store.json").is_file():
        return False
    return path.is_file() or any(kind.known_by(path) for kind in KINDS.values())


def open_store(c, say=print):
    """What ``config.data.store`` names: a store, or a source of raw counts as `Unprepared`.

    A source is read as ``config.prepare`` says, its labels being those that heads read as well.
    """
    name, p = str(c.data.store), c.prepare
    if not is_source(name):
        return Store.open(name)
    if p.hvg:
        raise ValueError(
            f"config.prepare.hvg: found {p.hvg}, expected 0 with config.data.store={name}: "
            "choosing genes takes a store; make one with `jaxcell prepare`"
        )
    heads = [head.label for head in c.model.heads.values() if head.get("label")]
    labels = tuple(dict.fromkeys([*p.labels, *heads]))
    say(
        f"{name} is not a store: its cells are read as they lie there, for a first look. That is "
        "slower, several times where the file is compressed. For training in earnest: "
        + " ".join(["jaxcell prepare STORE", name, *(["--labels", *labels] if labels else [])])
    )
    options = dict(
        labels=labels, hold_out=tuple(p.hold_out), hold_out_fraction=p.hold_out_fraction,
        min_genes=p.min_genes, min_cells=p.min_cells, allow_non_integer=p.allow_non_integer,
        values=p.given, measured_by=p.get("measured_by") or None, seed=c.seed,
    )  # fmt: skip
    with of_config(name):
        return _open(name, _age(name), **options)


def _age(name):
    return Path(name).stat().st_mtime_ns if Path(name).exists() else None


@functools.lru_cache(maxsize=1)  # a run asks for it several times
def _open(name, age, **options):
    return Unprepared(name, **options)


def _bar(what, source, progress):
    return bar(source.n_cells, what, "cell", shown=progress)
