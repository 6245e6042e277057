"""What is compared: embeddings as given and baselines, each with what it was fitted on.

A method is one matrix, or one per fold: an inductive baseline sees a fold's training cells only,
and an embedding may come from one model per held-out batch.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from jaxcell.config import BASELINES

from . import autoencoder
from . import baselines as b
from .clustering import Space

RAW, LOG, SHUFFLED = "Raw counts", "(Lib+Log)Norm", "Shuffled labels"
PCA = "PCA (transductive)"
MAIN = (LOG, PCA)  # of the baselines, those that get a UMAP picture
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


def choose(names, cells):
    """The baselines to measure.

    Parameters
    ----------
    names : sequence of str
        raw, log, hvgN, pca, ridge, ae (each of the three also with _inductive), shuffled; empty:
        all of them with 1024, 2000 and 5000 HVG, less the views that would be larger than 2 GiB.
    cells : Cells

    Returns
    -------
    list of str, list of str
        The short names, and sentences about what was left out.

    Raises
    ------
    ValueError
        For a name that is not known.
    """
    for name in names:
        if not re.fullmatch(BASELINES, name):
            raise ValueError(
                f"baselines: {name!r} is unknown; known are {', '.join(DEFAULT)} (hvgN for any N)"
            )
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
    same = [s for s in chosen if s.startswith("hvg") and int(s[3:]) >= g]
    if same:
        notes.append(
            f"HVG: the file has {g} genes, not more than {', '.join(s[3:] for s in same)}, so"
            f" there is nothing to choose: {LOG} is that view."
        )
        chosen = [s for s in chosen if s not in same]
        chosen += ["log"] * ("log" not in chosen)
    return chosen, notes


def _width(short, genes):
    if short in ("raw", "log"):
        return genes
    return min(int(short[3:]), genes) if short.startswith("hvg") else 0


def embeddings(found):
    """Methods of {key: matrix, or one matrix per fold}, as given."""
    made = []
    for key, x in found.items():
        per_fold = isinstance(x, list)
        views = [Space(one) for one in (x if per_fold else [x])]
        fitted = "one embedding per held-out batch" if per_fold else "as given"
        made.append(Method(key, fitted, lambda seed, folds, views=views: views, per_fold))
    return made


class Fits:
    """The baselines of some cells; what two of them share is computed once.

    counts float32 CSR [n, g]; train float32 CSR [., g] or None: what the inductive ones are fitted
    on, instead of each fold's training cells.
    """

    def __init__(self, counts, train, n_pcs, ridge, seeded_folds):
        self.counts, self.n_pcs, self.ridge = counts, n_pcs, ridge
        self.log = b.normalise(counts)
        self.train = None if train is None else b.normalise(train)
        self.seeded_folds = seeded_folds
        self._components = {}

    def method(self, short):
        """The Method of a short name."""
        kind, _, inductive = short.partition("_")
        if kind in KINDS:
            return self._reduced(kind, bool(inductive))
        if short == "shuffled":
            return Method(SHUFFLED, EVALUATED, lambda seed, folds: [self.pca_space], shuffled=True)
        name, fitted, view = {
            "raw": (RAW, NOTHING, lambda: self.counts),
            "log": (LOG, NOTHING, lambda: self.log),
        }.get(kind) or (
            f"{LOG} + {short[3:]} HVG",
            f"{EVALUATED} (choice of genes)",
            lambda: self.log[:, b.highly_variable(self.log, int(short[3:]))],
        )
        return Method(name, fitted, lambda seed, folds: [Space(view().toarray())])

    def _reduced(self, kind, inductive):
        name = f"{KINDS[kind]} ({'inductive' if inductive else 'transductive'})"
        per_fold = inductive and self.train is None
        fitted = EVALUATED
        if inductive:
            fitted = "each fold's training cells" if per_fold else "the train file"
        seeded = kind == "ae" or (per_fold and self.seeded_folds)
        if name == PCA:
            return Method(name, fitted, lambda seed, folds: [self.pca_space])

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
