"""The models of a study of gene networks, on one file: attention maps, and vectors of genes.

M chosen genes, k conditions, D width of a gene vector, n_var columns of the file.
"""

import hashlib
import json
import warnings
from pathlib import Path

import anndata
import numpy as np

from jaxcell.attention_maps import Attention, check_attention, condition_maps, show_chosen
from jaxcell.data.genes import identify
from jaxcell.data.matching import match
from jaxcell.embedder import Embedder
from jaxcell.files import near
from jaxcell.gene_vectors import genes as vectors_of
from jaxcell.progress import bar
from jaxcell.results import check_match
from jaxcell.training.checkpoint import load_model
from jaxcell.writing import whole_file


class Models:
    """Models by name, each with the file's columns that are its genes.

    Parameters
    ----------
    checkpoints : paths; names are their ends where these differ
    source : the file
    names : its GeneNames [n_var]
    how : seed, gene_map, duplicates, min_matched
    attention : whether attention is asked for; then ``layer`` of it

    Attributes
    ----------
    usable : bool [n_var], columns that some training cell of every model measured

    Raises
    ------
    ValueError
        The same checkpoint twice, one without attention weights, or without the file's genes.
    """

    def __init__(self, checkpoints, source, names, how, *, attention=True, layer=None):
        self.paths = dict(zip(_called(checkpoints), checkpoints, strict=True))
        self.models = {name: load_model(path) for name, path in self.paths.items()}
        self._source, self._layer = source, layer
        self._embedders, self._rows = {}, {}
        self.usable = np.ones(len(names), bool)
        for name, model in self.models.items():
            if attention:
                check_attention(model.config, layer, self.paths[name])
                show_chosen(model.config)
            found = match(names, model.vocabulary, how["gene_map"], how["duplicates"], source.name)
            check_match(found, source, how["min_matched"])
            embedder = Embedder(model, source, found, how["seed"], "")
            self._embedders[name], self._rows[name] = embedder, found.columns
            self.usable &= np.isin(found.columns, embedder.gene_sets[0])  # -1 is in none

    @property
    def hashes(self):
        """sha256 of each model."""
        return [model.sha256 for model in self.models.values()]

    def attention(self, columns, codes, conditions, measure, kept, progress):
        """Mean attention of each model between the genes of some columns, by condition.

        What is found is kept in the folder ``kept``, a file for each model, and taken from there
        where model, counts, cells, genes and measure are the same.

        Returns
        -------
        {model: float32 [k, M, M]}, {model: what genes receive, float64 [k, M]}, cells i64 [k]
        """
        maps, received, cells = {}, {}, None
        everything = [self._source.checksum(), self._source.counts, self._layer, measure]
        everything += [_hash(codes.astype(np.int64)), conditions]
        total = self._source.n_cells * len(self.models)
        with bar(total, "attention", "cell", shown=progress) as shown:
            for name, model in self.models.items():
                ids = self._rows[name][columns].astype(np.int32)
                asked = json.dumps([*everything, model.sha256, _hash(ids)])
                file = kept / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.npz"
                if file.exists():
                    with np.load(file) as known:
                        found = known["maps"], known["received"], known["cells"]
                    shown.skip(self._source.n_cells)
                else:
                    found = self._compute(name, ids, codes, conditions, measure, shown)
                    _save(file, *found)
                maps[name], received[name], cells = found
        return maps, received, cells

    def _compute(self, name, ids, codes, conditions, measure, shown):
        model, embedder = self.models[name], self._embedders[name]
        embedder.gene_sets = [np.sort(ids)]
        run = Attention(model.config, ids, self._layer, model.tables)
        chunks = self._source.chunks()
        with warnings.catch_warnings():  # what it says of their vectors is not what happens here
            warnings.filterwarnings("ignore", message=".*holds cells without any count")
            found = condition_maps(embedder, run, chunks, codes, conditions, measure, shown.update)
        if (empty := int((embedder.empty & (codes >= 0)).sum())) > 0:
            warnings.warn(
                f"{self._source.name}: {empty} cells without any count in the genes of {name} are "
                "left out of its attention",
                stacklevel=4,
            )
        if (found[2] == 0).any():
            raise ValueError(
                f"{self._source.name}: no cell of some condition has any count in the genes of "
                f"{name}"
            )
        return found

    def vectors(self, key, columns):
        """Gene vectors of some columns: {model: float32 [M, D]}.

        Raises
        ------
        ValueError
            A model has no such vectors.
        """
        found = {}
        for name, path in self.paths.items():
            table = vectors_of(path)
            found[name] = _entry(table, key, path)[self._rows[name][columns]]
        return found


class GeneFile:
    """Gene vectors from an AnnData of genes, or its file, as `Models` gives them.

    given : AnnData, or 'PATH.h5ad' or 'PATH.h5ad:KEY' (the first entry of obsm by default)
    names : GeneNames [n_var] of the cells' file
    """

    def __init__(self, given, names):
        where, key = ("AnnData", None) if isinstance(given, anndata.AnnData) else _split(given)
        if not isinstance(given, anndata.AnnData):
            if not Path(where).is_file():
                raise FileNotFoundError(
                    f"{where}: no such file; expected an h5ad of genes{near(where)}"
                )
            given = anndata.read_h5ad(where)
        if not len(given.obsm):
            raise ValueError(
                f"{where}: obsm is empty; `jaxcell genes` writes vectors of genes there"
            )
        self._table = _entry(given, key or next(iter(given.obsm)), where)
        self.name = Path(where).stem
        own, row = identify(given.obs, where=where), {}
        for i, (symbol, ensembl) in enumerate(zip(own.symbols, own.ensembl, strict=True)):
            row |= {name: i for name in (symbol, ensembl) if name and name not in row}
        pairs = zip(names.ensembl, names.symbols, strict=True)
        self._rows = np.array([row.get(e, row.get(s, -1)) for e, s in pairs])
        self.usable = self._rows >= 0

    def vectors(self, columns):
        """{the file's name: float32 [M, D]}."""
        return {self.name: self._table[self._rows[columns]]}


def _entry(table, key, where):
    if key not in table.obsm:
        raise ValueError(f"vectors: {where} has {', '.join(table.obsm)}, not {key!r}")
    found = np.asarray(table.obsm[key], np.float32)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError(f"vectors: {where}: obsm[{key!r}] is no matrix of finite numbers")
    return found


def _split(given):
    path, _, key = str(given).partition(".h5ad")
    return f"{path}.h5ad", key.removeprefix(":") or None


def _called(paths):
    """What each model is called in tables: the end of its path, or all of it."""
    ends = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths]
    called = ends if len(set(ends)) == len(ends) else [str(path) for path in paths]
    if len(set(called)) < len(called):
        raise ValueError(f"checkpoint: found {', '.join(called)}, expected each once")
    return called


def _hash(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _save(file, maps, received, cells):
    with whole_file(file) as partial, open(partial, "wb") as to:
        np.savez(to, maps=maps, received=received, cells=cells)
