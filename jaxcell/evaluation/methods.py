"""What is compared: embeddings as given and baselines, each with what it was fitted on.

A method is one matrix, or one per fold: an inductive baseline sees a fold's training cells only,
and an embedding may come from one model per held-out batch.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from jaxcell.config import BASELINES

from . import autoencoder, integration
from . import baselines as b
from .clustering import Space

RAW, LOG, SHUFFLED = "Raw counts", "(Lib+Log)Norm", "Shuffled labels"
PCA = "PCA (transductive)"
INTEGRATED = {"pca": "PCA", "harmony": "Harmony", "scvi": "scVI"}  # of all or of chosen genes
PACKAGE = {"harmony": "harmonypy", "scvi": "scvi-tools"}  # what others a baseline is made by
KINDS = {"pca": "PCA", "ridge": "Ridge PCA", "ae": "Linear AE"}
DEFAULT = (
    *("raw", "log", "hvg1024", "hvg2000", "hvg5000"),
    *(f"{kind}{how}" for kind in KINDS for how in ("_inductive", "")),
    "shuffled",
)
DENSE = 2**29  # values of a dense view that is made unasked: 2 GiB in float32
EVALUATED = "the evaluated cells"
NOTHING = "–"


@dataclass(frozen=True)
class Method:
    """One row of the tables."""

    name: str
    fitted: str  # on what, in words
    spaces: Callable  # (seed, folds) -> list of Space: one, or one per fold
    per_fold: bool = False
    seeded: bool = False  # other spaces with another seed
    shuffled: bool = False  # judged by permuted labels
    picture: bool = False  # gets a UMAP picture


def choose(names, cells):
    """The baselines to measure.

    Parameters
    ----------
    names : sequence of str
        raw, log, hvgN, pca, ridge, ae (each of the three also with _inductive), shuffled; empty:
        all of them with 1024, 2000 and 5000 HVG, less the views that would be larger than 2 GiB.
        By name only: genes (the given ones), harmony, scvi, and hvgN or genes with _pca, _harmony
        or _scvi: the same on these genes.
    cells : Cells

    Returns
    -------
    list of str, list of str
        The short names, and sentences about what was left out.

    Raises
    ------
    ValueError
        For a name that is not known; genes without given ones, or the other way round.
    ImportError
        Naming the extra of a baseline that is not installed.
    """
    for name in names:
        if not re.fullmatch(BASELINES, name):
            raise ValueError(
                f"baselines: {name!r} is unknown; known are {', '.join(DEFAULT)} (hvgN for any N),"
                " genes, harmony, scvi; hvgN_pca, hvgN_harmony, hvgN_scvi, genes_pca …"
            )
    named = [name for name in names if name.startswith("genes")]
    if bool(named) != (cells.chosen is not None):
        raise ValueError(
            f"genes=: found {'none' if named else 'some'}, and of the baselines {named} that take"
            " them: each needs the other (baselines genes, genes_pca, genes_harmony, genes_scvi)"
        )
    integration.check({integrated(name) for name in names}, cells.batch)
    if cells.counts is None:
        if names:
            raise ValueError(f"baselines={list(names)} need counts; counts=None leaves them out")
        return [], []
    notes, chosen, (n, g) = [], list(dict.fromkeys(names)), cells.counts.shape
    if not names:
        large = [s for s in DEFAULT if n * _width(s, g) > DENSE]
        chosen = [s for s in DEFAULT if s not in large]
        if large:
            notes.append(
                f"Left out because the view is dense and would take more than 2 GiB: "
                f"{', '.join(large)}. Name them with baselines= (--baselines) to have them."
            )
    same = [s for s in chosen if _hvg(s) and _hvg(s) >= g]
    if same:
        numbers = dict.fromkeys(str(_hvg(s)) for s in same)
        notes.append(
            f"HVG: the file has {g} genes, not more than {', '.join(numbers)}, so"
            f" there is nothing to choose: {LOG} is that view."
        )
        every = [integrated(s) or "log" for s in same]  # the same of all genes
        chosen = list(dict.fromkeys([s for s in chosen if s not in same] + every))
    return chosen, notes


def _hvg(short):
    """N of hvgN and hvgN_…; 0 of others."""
    found = re.match(r"hvg(\d+)", short)
    return int(found[1]) if found else 0


def integrated(short):
    """'pca', 'harmony' or 'scvi', where a short name asks for one; else ''."""
    kind = short.rpartition("_")[2]
    return kind if kind in INTEGRATED else ""


def _width(short, genes):
    if short in ("raw", "log"):
        return genes
    return 0 if integrated(short) else min(_hvg(short), genes)


def embeddings(found):
    """Methods of {key: matrix, or one matrix per fold}, as given."""
    made = []
    for key, x in found.items():
        per_fold = isinstance(x, list)
        views = [Space(one) for one in (x if per_fold else [x])]
        fitted = "one embedding per held-out batch" if per_fold else "as given"
        made.append(
            Method(key, fitted, lambda seed, folds, views=views: views, per_fold, picture=True)
        )
    return made


class Fits:
    """The baselines of some cells; what two of them share is computed once.

    cells : Cells with counts; its train: what the inductive ones are fitted on, instead of each
    fold's training cells.
    """

    def __init__(self, cells, n_pcs, ridge, seeded_folds):
        self.counts, self.n_pcs, self.ridge = cells.counts, n_pcs, ridge
        self.batch, self.given = cells.batch, cells.chosen
        self.log = b.normalise(cells.counts)
        self.train = None if cells.train is None else b.normalise(cells.train)
        self.seeded_folds = seeded_folds
        self._components = {}
        self._columns = {}

    def of_size(self, n_pcs):
        """The same with another number of components; the normalised counts are shared."""
        other = copy.copy(self)
        other.n_pcs, other._components = n_pcs, {}
        other.__dict__.pop("pca_space", None)
        return other

    def method(self, short):
        """The Method of a short name."""
        kind, _, inductive = short.partition("_")
        if integrated(short) and short != "pca":
            return self._integrated(short)
        if kind in KINDS:
            return self._reduced(kind, bool(inductive))
        if short == "shuffled":
            return Method(SHUFFLED, EVALUATED, lambda seed, folds: [self.pca_space], shuffled=True)
        name, fitted, view = {
            "raw": (RAW, NOTHING, lambda: self.counts),
            "log": (LOG, NOTHING, lambda: self.log),
            "genes": (f"{LOG} of the given genes", NOTHING, lambda: self._of(self.log, "genes")),
        }.get(kind) or (
            f"{LOG} + {short[3:]} HVG",
            f"{EVALUATED} (choice of genes)",
            lambda: self._of(self.log, short),
        )
        return Method(
            name, fitted, lambda seed, folds: [Space(view().toarray())], picture=short == "log"
        )

    def _of(self, x, genes):
        """The columns of x that 'hvgN' or 'genes' stands for; '': all."""
        if not genes:
            return x
        if genes not in self._columns:
            hvg = _hvg(genes)
            self._columns[genes] = b.highly_variable(self.log, hvg) if hvg else self.given
        return x[:, self._columns[genes]]

    def _integrated(self, short):
        """PCA, Harmony or scVI, of all genes or of chosen ones."""
        genes, _, kind = short.rpartition("_")
        of = f"{_hvg(genes)} HVG" if _hvg(genes) else "given genes" if genes else ""
        name = f"{INTEGRATED[kind]}, {of}" if of else INTEGRATED[kind]

        def matrix(seed):
            if kind == "scvi":
                return integration.scvi(self._of(self.counts, genes), self.batch, seed)
            if genes:
                x = self._of(self.log, genes)
                scores = b.principal_components(x, self.n_pcs).scores(x)
            else:
                scores = self.pca_space.x
            return integration.harmonise(scores, self.batch, seed) if kind != "pca" else scores

        fitted = EVALUATED if kind == "pca" else f"{EVALUATED} and their batches"
        return Method(
            name, fitted, lambda seed, folds: [Space(matrix(seed))], seeded=kind != "pca",
            picture=True,
        )  # fmt: skip

    def _reduced(self, kind, inductive):
        name = f"{KINDS[kind]} ({'inductive' if inductive else 'transductive'})"
        per_fold = inductive and self.train is None
        fitted = EVALUATED
        if inductive:
            fitted = "each fold's training cells" if per_fold else "the train file"
        seeded = kind == "ae" or (per_fold and self.seeded_folds)
        if name == PCA:
            return Method(name, fitted, lambda seed, folds: [self.pca_space], picture=True)

        def spaces(seed, folds):
            if per_fold:
                fits = {fold.train.tobytes(): self.log[fold.train] for fold in folds}
            else:
                fits = {fitted: self.train if inductive else self.log}
            return [Space(self._code(kind, *one, seed)) for one in fits.items()]

        return Method(name, fitted, spaces, per_fold, seeded)

    def _code(self, kind, cells, x, seed):
        """All evaluated cells' code by what is fitted on x, which `cells` identifies."""
        if kind == "ae":
            return autoencoder.fit(x, self.n_pcs, seed)(self.log)
        if cells not in self._components:  # PCA and Ridge PCA ask for the same ones
            self._components[cells] = b.principal_components(x, self.n_pcs)
        return self._components[cells].scores(self.log, self.ridge if kind == "ridge" else 0.0)

    @cached_property
    def pca_space(self):
        """Space of the transductive PCA, which the shuffled labels are judged on too."""
        return Space(self._code("pca", EVALUATED, self.log, 0))
