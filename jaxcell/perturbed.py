"""What a model predicts of control cells to which something is done, gene by gene.

B cells, T tokens, K genes that a pass shows, M measured genes, F perturbed ones, V of the model.
"""

import jax
import numpy as np

from jaxcell.data import draws
from jaxcell.data.draft import Draft, look_up, stream_keys
from jaxcell.data.flags import NONE, FlagGenes
from jaxcell.data.transforms import Normalise
from jaxcell.forward import Forward
from jaxcell.training.panel import bin_values

ORDER = 31  # stream of a cell's draws, see Draft.keys_of
TARGETS = ("batch.token_panel", "batch.token_bins")


def prediction_of(c):
    """Name of the head that predicts the perturbed cell, and what its bins stand for, or None.

    Raises
    ------
    ValueError
        For a config whose inputs are not control cells, or that predicts nothing of their pairs.
    """
    if not c.data.pair.label:
        raise ValueError(
            "this model predicts no perturbations: config.data.pair.label: found '', expected the "
            "label of the training cells' perturbations (a config's variant ':perturb')"
        )
    if "flag_genes" not in c.data.transforms:
        raise ValueError(
            f"this model is not told what is perturbed: config.data.transforms: found "
            f"{tuple(c.data.transforms)}, expected flag_genes among them"
        )
    for one in c.losses.values():
        if one.weight and one.get("target") in TARGETS and one.pred.count(".") == 1:
            binned = one.target == "batch.token_bins"
            values = np.asarray(bin_values(c.data.pair.bins, c.data.pair.width), np.float64)
            return one.pred.removeprefix("heads."), values if binned else None
    raise ValueError(
        f"this model predicts no perturbations: config.losses: found {', '.join(c.losses)}, "
        f"expected one with the target {' or '.join(TARGETS)}"
    )


def perturbed_genes(c, vocabulary, conditions, measured):
    """Genes that each condition names, i32 [n, F], −1 behind the last.

    Raises
    ------
    ValueError
        Names that are no genes of the model; or genes that the cells did not measure, unless the
        model learned to be shown such ones (``flag_genes.unmeasured`` = 'show').
    """
    own = {k: v for k, v in c.data.flag_genes.items() if k != "label"}
    try:
        flags = FlagGenes(**own, label="genes", labels={"genes": conditions}, genes=vocabulary)
    except ValueError as error:
        raise ValueError(str(error).replace("config.data.flag_genes: ", "genes: ")) from None
    table = flags.table[:-1]
    lost = np.unique(table[(table != NONE) & ~np.isin(table, measured)])
    if len(lost) and c.data.flag_genes.unmeasured == "refuse":
        names = ", ".join(vocabulary.name(gene) for gene in lost)
        raise ValueError(
            f"genes: the cells, or all cells of the model's training, did not measure {names}; "
            "expected genes that both did, so that a token can show them"
        )
    return table


class Perturbed:
    """Some control cells and perturbed genes → expression of all measured genes, f32 [B, M].

    Each pass shows the perturbed genes and others up to K, in an order that is the cell's own, as
    many passes as show each gene once; the last is filled up with genes of the first, so that every
    pass has as many tokens. What a gene gets in several passes is averaged. Cells go through as in
    `Forward`, so that none hangs on its neighbours.

    model : Model; embedder : `Embedder` of the cells; rows, keys, labels : theirs, all of them
    """

    def __init__(self, model, embedder, rows, keys, labels):
        c = model.config
        self._head, self._bins = prediction_of(c)
        self._forward = Forward(c, heads=(self._head,), tables=model.tables)
        self._variables, self._labels = embedder.variables, labels
        (self.measured,) = embedder.gene_sets
        self._keys, self._v = keys, len(model.vocabulary)
        self._draft = Draft(rows, embedder.gene_sets, rows.dataset, keys)
        Normalise(**c.data.normalise, total=c.data.total)(self._draft)
        specials, front = tuple(c.model.specials), tuple(c.model.front) or tuple(c.model.specials)
        self._front = np.array([specials.index(name) for name in front], np.int32)
        self._number, self._flag = c.data.sequence.number, c.data.flag_genes.flag
        self.tokens, self.passes = 0, 0  # of the last condition

    @property
    def total(self):
        """What each cell's counts were divided by, f32 [B]."""
        return self._draft.batch["total"]

    def control(self):
        """Mean of the cells' own normalised values, f64 [M]."""
        rows = self._draft.rows
        sums = np.bincount(rows.ids, self._draft.values, minlength=self._v)
        return sums[self.measured] / len(rows)

    def __call__(self, flagged, batch_size, advance=None):
        """Expression f32 [B, M] where the genes i32 [F'] are perturbed.

        advance : called with numbers of cells that are done
        """
        found = np.empty((len(self._keys), len(self.measured)), np.float32)
        for start in range(0, len(found), batch_size):
            cells = slice(start, min(start + batch_size, len(found)))
            found[cells] = self._some(cells, flagged)
            if advance:
                advance(cells.stop - cells.start)
        return found

    def _some(self, cells, flagged):
        others = np.setdiff1d(self.measured, flagged).astype(np.int32)
        each = min(self._number - len(flagged), len(others))
        if each < 1:
            raise ValueError(
                f"genes: found {len(flagged)} perturbed together, expected fewer than the "
                f"{self._number} that a pass of this model shows"
            )
        ranks = draws.ranks(stream_keys(self._keys[cells], ORDER), len(others))
        order = others[(np.sort(ranks, axis=1) & draws.PLACE).astype(np.int64)]
        self.passes = -(-len(others) // each)
        sums = np.zeros((len(order), self._v))
        times = np.zeros_like(sums)
        here = np.arange(len(order))[:, None]
        for start in range(0, self.passes * each, each):
            places = np.arange(start, start + each) % len(others)
            genes = np.concatenate(
                [np.broadcast_to(flagged, (len(order), len(flagged))), order[:, places]], axis=1
            )
            sums[here, genes] += self._predicted(cells, genes, len(flagged))
            times[here, genes] += 1
        return (sums / np.maximum(times, 1))[:, self.measured]

    def _values(self, cells, genes):
        """The cells' own normalised values of the genes [b, K] that a pass shows, f32."""
        rows = self._draft.rows
        mine = slice(rows.indptr[cells.start], rows.indptr[cells.stop])
        some = rows.take(cells.start, cells.stop)
        return look_up(some, self._draft.values[mine], genes, self._v)

    def _predicted(self, cells, genes, flagged):
        """Expression of the genes i32 [b, K] that a pass shows, of which so many are perturbed."""
        number, s = len(genes), len(self._front)
        front = np.broadcast_to(self._front, (number, s))
        flags = np.zeros((number, s + genes.shape[1]), np.int32)
        flags[:, s : s + flagged] = 1
        values = self._values(cells, genes)
        batch = {
            "ids": np.concatenate([self._v + front, genes], axis=1).astype(np.int32),
            "values": np.concatenate([-(front + 1.0), values], axis=1).astype(np.float32),
            "length": np.full(number, flags.shape[1], np.int32),
            "flags": {self._flag: flags},
            "labels": {name: codes[cells] for name, codes in self._labels.items()},
        }
        self.tokens = flags.shape[1]
        found = self._forward(self._variables, batch)[self._head][:, s : self.tokens]
        if self._bins is None:
            return found
        return np.asarray(jax.nn.softmax(found, axis=-1), np.float64) @ self._bins
