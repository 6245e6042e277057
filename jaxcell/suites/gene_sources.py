"""Where the suite ``genes`` has vectors from: checkpoints and their steps, files, baselines.

V genes that all sources have, D dimensions.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxcell.data.genes import GeneNames, strip_version
from jaxcell.data.matching import match
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.evaluation import gene_baselines, gene_report, integration, scvi_fit
from jaxcell.files import near
from jaxcell.gene_vectors import genes
from jaxcell.suites.vectors import fingerprint
from jaxcell.training.external import read_vectors
from jaxcell.writing import whole_file


@dataclass(frozen=True)
class Source:
    """Gene vectors, read when they are asked for.

    model : its name in the tables, without the seed
    seed, step : of the training, where they are known
    kind : 'model', 'vectors', 'baseline' or 'reference' (chance)
    names : GeneNames of its own genes; None: the V shared ones
    mark : JSON, what the vectors depend on
    read : () -> {key: float [own genes, D]}; the key '' adds nothing to the name
    """

    model: str
    seed: int | None
    step: int | None
    kind: str
    names: GeneNames | None
    mark: object
    read: Callable

    @property
    def key(self):
        """Name of its parts' files."""
        ends = [f"seed{self.seed}"] if self.seed is not None else []
        ends += [f"step{self.step}"] if self.step is not None else []
        return "-".join([re.sub(r"[^A-Za-z0-9_.]+", "_", self.model), *ends])


def seed_of(name):
    """'txfm-seed2' -> ('txfm', 2): a model and the seed it was trained with; else (name, None)."""
    found = re.fullmatch(r"(.+)-seed(\d+)", name)
    return (found[1], int(found[2])) if found else (name, None)


def checkpoints(named, every_step):
    """Sources of {name: run}, with ``every_step`` also those of the steps that each run kept.

    Raises
    ------
    ValueError
        No model, no gene vectors, or no steps.
    """
    found = []
    for name, path in named.items():
        model, seed = seed_of(name)
        table = genes(path)
        kept = table.obs["trained"].to_numpy(bool) if "trained" in table.obs else slice(None)
        names = table.obs[kept]
        names = GeneNames(tuple(names["symbol"]), tuple(names["ensembl_id"]))
        mark = {"checkpoint": table.uns["jaxcell"]["genes"]["checkpoint_hash"]}
        found.append(Source(model, seed, None, "model", names, mark, partial(_of, table, kept)))
        for step, folder in _steps(name, path) if every_step else ():
            own = {**mark, "step": step}
            read = partial(_of, folder, kept)
            found.append(Source(model, seed, step, "model", names, own, read))
    return found


def _of(table, kept):
    """Vectors of a table of genes, or of the step folder it is of."""
    table = genes(table) if isinstance(table, Path) else table
    return {key: table.obsm[key][kept] for key in table.obsm}


def _steps(name, path):
    folder = Path(path) / "checkpoints"
    found = sorted(
        (int(one.name), one)
        for one in (folder.iterdir() if folder.is_dir() else ())
        if one.name.isdecimal() and (one / "state").is_dir()
    )
    if not found:
        raise ValueError(
            f"--epochs: {name}={path} has no checkpoints/<step>; expected the workdir of a run "
            "(--config.train.keep_every keeps more of its steps)"
        )
    return found


def files(given):
    """Sources of files, NAME=FILE or FILE: h5ad as ``jaxcell genes`` writes it, or tsv, npz.

    Raises
    ------
    ValueError, FileNotFoundError
        Naming the file.
    """
    found = []
    for text in given:
        name, sign, path = str(text).partition("=")
        name, path = (name, Path(path)) if sign and "/" not in name else ("", Path(text))
        if not path.is_file():
            raise FileNotFoundError(f"--vectors: {path}: no such file{near(path)}")
        model, seed = seed_of(name or path.stem)
        if path.suffix == ".h5ad" and _has_obsm(path):
            _, names, vectors = gene_report.read_genes(path)
        else:
            own, matrix = read_vectors(path)
            ensembl = tuple(strip_version(gene) or "" for gene in own)
            symbols = tuple("" if e else g for g, e in zip(own, ensembl, strict=True))
            names, vectors = GeneNames(symbols, ensembl), {"": matrix}
        mark = {"file": fingerprint(path)}
        found.append(Source(model, seed, None, "vectors", names, mark, lambda v=vectors: v))
    return found


def _has_obsm(path):
    import h5py

    with h5py.File(path) as file:
        return len(file.get("obsm", ())) > 0


def shared(sources, extra=()):
    """The genes that all sources and (name, GeneNames) pairs have.

    Returns
    -------
    Vocabulary, V genes in the order of the first

    Raises
    ------
    ValueError
        One has none of the others' genes, or names a gene twice.
    """
    given = [(source.model, source.names) for source in sources] + list(extra)
    where, first = given[0]
    pairs = [p for p in zip(first.symbols, first.ensembl, strict=True) if p != ("", "")]
    try:
        vocabulary = Vocabulary(*zip(*pairs, strict=True))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for where, names in given[1:]:
        columns = match(names, vocabulary, duplicates="first", where=where).columns
        kept = np.isin(np.arange(len(vocabulary)), columns)
        vocabulary = vocabulary.subset(kept)
    return vocabulary


def on(source, vocabulary):
    """A source's vectors of the shared genes: {key: float [V, D]}."""
    found = source.read()
    if source.names is None:
        return found
    columns = match(source.names, vocabulary, duplicates="first", where=source.model).columns
    row = np.empty(len(vocabulary), np.int64)
    row[columns[columns >= 0]] = np.flatnonzero(columns >= 0)
    return {key: np.asarray(x)[row] for key, x in found.items()}


BASELINES = ("random", "pca", "scvi")
SCVI = [name for name, how in scvi_fit.PRESETS.items() if how.genes is None]  # of all genes


def _kept(folder, mark, make):
    """{key: array} that ``make`` returns, kept in the folder: it is asked several times."""
    text = json.dumps(mark, sort_keys=True)
    file = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
    if not file.exists():
        found = make()
        with whole_file(file) as partial, open(partial, "wb") as to:
            np.savez(to, **{f"vectors {key}": x for key, x in found.items()})
    with np.load(file) as arrays:
        return {key.removeprefix("vectors "): arrays[key] for key in arrays}


def made(names, cells, vocabulary, width, *, seeds, components, scvi, folder):
    """Sources of the baselines by short name: random, pca (of the transposed cells), scvi.

    What is fitted is kept in the folder.
    """
    mark = {"cells": cells and cells.mark, "genes": vocabulary.sha256}
    found = []
    if "pca" in names:

        def pca():
            return {"": gene_baselines.transposed_pca(cells.counts, components)}

        own = {"baseline": "pca", "components": components, **mark}
        read = partial(_kept, folder, own, pca)
        found.append(Source(gene_report.PCA, None, None, "baseline", None, own, read))
    if "scvi" in names:
        preset, epochs = scvi
        integration.check(["scvi"], None)

        def fitted(seed):
            return integration.scvi_gene_vectors(cells.counts, seed, preset, epochs=epochs)

        for seed in range(seeds):
            own = {"baseline": "scvi", "preset": preset, "epochs": epochs, "seed": seed, **mark}
            read = partial(_kept, folder, own, partial(fitted, seed))
            found.append(Source("scVI", seed, None, "baseline", None, own, read))

    def drawn(seed):
        return {"": gene_baselines.random_vectors(len(vocabulary), width, seed)}

    for seed in range(seeds) if "random" in names else ():
        own = {"baseline": "random", "width": width, "seed": seed, "genes": vocabulary.sha256}
        read = partial(drawn, seed)
        found.append(Source(gene_report.RANDOM, seed, None, "reference", None, own, read))
    return found
