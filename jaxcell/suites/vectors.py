"""The vectors that suites compare: models by their checkpoints and baselines, of the same cells.

n cells, g genes, d features.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp

from jaxcell.data.genes import identify, read_gene_map, strip_version
from jaxcell.data.matching import match
from jaxcell.embedding import embed as embed_cells
from jaxcell.evaluation import gene_baselines, inputs, integration
from jaxcell.evaluation import methods as known
from jaxcell.files import about
from jaxcell.models.cell import count_parameters
from jaxcell.results import check_match
from jaxcell.suites import naming
from jaxcell.training.checkpoint import load_model
from jaxcell.training.external import read_vectors
from jaxcell.writing import whole_file

PCS = 50  # components where a baseline's name says no other number
FEWEST = 0.05  # of a model's genes, as `jaxcell.embed` has it by default
RIDGE = 1.0  # penalty of Ridge PCA, see baselines.Components
NAMES = (
    r"raw|log|hvg[1-9]\d*|(pca|ridge|ae)([1-9]\d*)?(_inductive)?|harmony|scvi(_inductive)?"
    r"|genept=.+"
)


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    kind : 'model', 'baseline' or 'reference' (chance: never the best of a column)
    fitted : on what, in words
    mark : JSON, what the vectors depend on beside the cells
    matrix : (seed) -> float32 [n, d]
    seeded : other vectors with another seed
    parameters : of a model; None: unknown
    """

    name: str
    kind: str
    fitted: str
    mark: object
    matrix: Callable
    seeded: bool = False
    parameters: int | None = None


def fingerprint(data):
    """Hash of a file's content, or of an AnnData's matrices, obs and var.

    Any column may matter: one names genes, another batches or labels that a model reads.
    """
    if not isinstance(data, anndata.AnnData):
        with open(data, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    raw = [] if data.raw is None else [data.raw.X]
    names = sorted(name for name in data.layers if name is not None)  # None: X, from 0.13 on
    for matrix in (data.X, *(data.layers[name] for name in names), *raw):
        x = sp.csr_matrix(matrix)
        for array in (x.data, x.indices, x.indptr):
            digest.update(np.ascontiguousarray(array).view(np.uint8))
    for table in (data.obs, data.var):
        digest.update(table.to_csv().encode())
    return digest.hexdigest()


def methods(
    asked,
    adata,
    *,
    counts="",
    batch=None,
    train=None,
    baselines=(),
    embed=None,
    allow_non_integer=False,
    where="the cells",
):
    """The models and baselines of a suite, models first.

    Parameters
    ----------
    asked : Asked
        Its checkpoints are the models, their vectors kept in ``asked.out/vectors``.
    adata : AnnData [n, g], raw counts
    counts : 'X', 'raw' or 'layers/NAME'; '': X, where a suite has no option for it
    batch : str [n], optional
        What harmony and scvi integrate.
    train : path or AnnData, optional
        Raw counts that the baselines …_inductive are fitted on.
    baselines : sequence of str
        raw, log, hvgN, pca, pcaK, ridge, ridgeK, ae, aeK (of K units; 50), also …_inductive,
        harmony, scvi, scvi_inductive, genept=FILE (a table of gene vectors).
    embed : dict, optional
        Options of `jaxcell.embed`, as layer or pooling.
    allow_non_integer : take counts that are no whole numbers
    where : the cells' file, for errors

    Returns
    -------
    list of Method

    Raises
    ------
    ValueError, ImportError
        An unknown baseline, one whose extra is not installed, no counts, or a checkpoint whose
        genes the cells lack.
    """
    _check(baselines, train, batch)
    x, source = inputs.raw_counts(adata, counts, allow_non_integer, where)
    cells = anndata.AnnData(x, obs=adata.obs, var=source.var)
    options = {"allow_non_integer": allow_non_integer, **(embed or {})}
    models = [
        _model(name, path, cells, options, asked.out / "vectors", source)
        for name, path in asked.checkpoints.items()
    ]
    fits = _Fits(cells, x, batch, train, counts, allow_non_integer) if baselines else None
    made = [fits.method(short) for short in dict.fromkeys(baselines)]
    naming.check_rows(asked.checkpoints, (method.name for method in made))
    return models + made


def _check(baselines, train, batch):
    for short in baselines:
        if not re.fullmatch(NAMES, short):
            raise ValueError(
                f"baselines: {short!r} is unknown; known are raw, log, hvgN, pcaK, ridgeK, aeK "
                "(numbers from 1 on; each of the three also with _inductive), harmony, scvi, "
                "scvi_inductive, genept=FILE"
            )
        if short.endswith("_inductive") and train is None:
            raise ValueError(f"baseline {short}: needs cells to be fitted on (--train FILE)")
    integration.check({short.removesuffix("_inductive") for short in baselines}, batch)


def _model(name, path, cells, options, folder, source):
    model = load_model(path)
    with about(f"checkpoint {name}"):
        _check_genes(model, source, options)
    mark = {"checkpoint": model.sha256, "embed": options}

    def matrix(seed):
        text = json.dumps([mark, fingerprint(cells)], sort_keys=True)
        file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npy"
        if not file.exists():
            found = embed_cells(cells.copy(), path, key="X_model", progress=False, **options)
            with whole_file(file) as partial, open(partial, "wb") as to:
                np.save(to, found.obsm["X_model"])
        return np.load(file)

    return Method(
        name, "model", "its own training cells", mark, matrix,
        parameters=count_parameters(model.config.model),
    )  # fmt: skip


def _check_genes(model, source, options):
    """Refuse cells that have too few of a model's genes; of few, `jaxcell.embed` will warn."""
    said = {"identifiers": "auto", "gene_map": None, "duplicates": "error", "min_matched": FEWEST}
    said |= options
    names = identify(source.var, said["identifiers"], source.name)
    gene_map = read_gene_map(said["gene_map"])
    found = match(names, model.vocabulary, gene_map, said["duplicates"], source.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_match(found, source, said["min_matched"])


class _Fits:
    """The baselines of some cells."""

    def __init__(self, adata, x, batch, train, counts, allow_non_integer):
        self.var, self.x, self.batch, self._by_size = adata.var, x, batch, {}
        self.train, self.mark = None, {}
        if train is not None:
            names = np.asarray(adata.var_names.astype(str))
            self.train, _ = inputs.training_counts(train, counts, names, allow_non_integer)
            self.mark = {"train": fingerprint(train)}

    def method(self, short):
        """The Method of a short name."""
        if short.startswith("genept="):
            return self._genept(Path(short.partition("=")[2]))
        mark = {"baseline": short, **(self.mark if short.endswith("_inductive") else {})}
        if short == "scvi_inductive":
            return Method(
                "scVI (inductive)", "baseline", "the train file", mark,
                lambda seed: integration.scvi_inductive(self.train, self.x, seed), seeded=True,
            )  # fmt: skip
        kind, size, how = re.fullmatch(r"(pca|ridge|ae)?(\d*)(.*)", short).groups()
        name = f"{kind}{how}" if kind else short
        one = self._fits(int(size or PCS)).method(name)
        title = one.name.replace(" (", f" {size} (", 1) if kind and size else one.name
        return Method(
            title, "baseline", one.fitted, mark,
            lambda seed: one.spaces(seed, [])[0].x, seeded=one.seeded,
        )  # fmt: skip

    def _fits(self, size):
        if not self._by_size:
            cells = inputs.Cells(None, self.batch, None, {}, counts=self.x, train=self.train)
            self._by_size[PCS] = known.Fits(cells, PCS, RIDGE, False)
        if size not in self._by_size:
            self._by_size[size] = self._by_size[PCS].of_size(size)
        return self._by_size[size]

    def _genept(self, file):
        vectors = _vectors_of(file, self.var)
        return Method(
            f"GenePT, {file.stem}", "baseline", "nothing",
            {"baseline": "genept", "file": fingerprint(file)},
            lambda seed: gene_baselines.genept(self._fits(PCS).log, vectors),
        )  # fmt: skip


def _vectors_of(file, var):
    """The vectors of a file's genes in the order of var, f32 [g, E]; zero where it has none."""
    genes, vectors = read_vectors(file)
    row = {strip_version(gene) or gene: i for i, gene in enumerate(genes)}
    names = identify(var)
    columns = zip(names.symbols, names.ensembl, var.index.astype(str), strict=True)
    found = [next((row[name] for name in some if name in row), -1) for some in columns]
    place = np.array(found)
    if not (place >= 0).any():
        raise ValueError(f"{file}: has none of the {len(var)} genes ({genes[0]}, …)")
    return np.where(place[:, None] >= 0, vectors[place], 0).astype(np.float32)
