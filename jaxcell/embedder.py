"""From chunks of raw counts to the tokens and vectors of cells. B cells, T tokens, V genes."""

import warnings

import jax
import numpy as np
import pandas as pd

from jaxcell import __version__
from jaxcell.data.preparing.survey import divide
from jaxcell.data.records import Rows
from jaxcell.data.shown import Shown, content_keys
from jaxcell.data.statistics import of_tables
from jaxcell.data.store import dataset_name
from jaxcell.models.cell import label_users
from jaxcell.models.cost import forward_flops
from jaxcell.models.fields import Metadata

FEW_CELLS = 100  # of a batch: its measured genes are a guess


def _measured(source, found, measured_by):
    """Dataset of each cell i32 [cells], the genes that each dataset measured, and its value."""
    matched = np.unique(found.columns[found.columns >= 0]).astype(np.int32)
    if measured_by and measured_by not in source.obs:
        raise ValueError(
            f"{source.name}: obs has no column {measured_by!r} (measured_by); it has "
            f"{list(source.obs)}"
        )
    dataset, values = divide(source, measured_by)
    if values == [""]:
        return dataset, [matched], values
    seen, start = np.zeros((len(values), found.n_genes), bool), 0
    for chunk in source.chunks():
        matrix = found.apply(chunk)
        mine = dataset[start : start + chunk.shape[0]]
        seen[np.repeat(mine, np.diff(matrix.indptr)), matrix.indices] = True
        start += chunk.shape[0]
    for value, genes in zip(values, seen, strict=True):
        if not genes.any():
            raise ValueError(
                f"{source.name}: no cell of {measured_by}={value} has any count; leave these "
                "cells out"
            )
    few = np.bincount(dataset, minlength=len(values)) < FEW_CELLS
    if few.any():
        names = ", ".join(value for value, is_few in zip(values, few, strict=True) if is_few)
        warnings.warn(
            f"{source.name}: fewer than {FEW_CELLS} cells of {measured_by} = {names}: which genes "
            "were measured there is found from these cells alone, and so misses rare ones; embed "
            "whole batches",
            stacklevel=4,
        )
    return dataset, [np.flatnonzero(genes).astype(np.int32) for genes in seen], values


class Embedder:
    """Chunks of raw counts [B, genes of the file] → what `Forward` returns of them.

    gene_sets : genes that are shown of each dataset's cells, measured here and in training; i32
    given : what chunks must hold: counts or log1p
    flags : False: which genes a cell's label names is not asked
    """

    def __init__(self, model, source, found, seed, measured_by, flags=True):
        c = model.config
        self.given = c.data.normalise.given
        self._model, self._source, self._found, self._seed = model, source, found, seed
        self.variables = jax.device_put(model.variables)
        v = len(model.vocabulary)
        measured = model.tables.get("measured", np.ones((1, v), bool))  # by gene sets of training
        self.matched = self._match = found.only(measured.any(axis=0)[:v])
        self._untrained = len(set(found.columns) - set(self._match.columns))
        if self._untrained:
            warnings.warn(
                f"{source.name}: {self._untrained} matched genes were measured in no training "
                "cell of this model; they are left out",
                stacklevel=3,
            )
        self._measured_by = measured_by
        found = _measured(source, self._match, measured_by)
        self._dataset, self.gene_sets, self._values = found
        most = max(map(len, self.gene_sets))
        self._named, classes = np.empty((source.n_cells, 0), np.int32), {}
        if flags:
            self._named, classes = self._flagging()
        self._shown = Shown(c, most, of_tables(model.tables, v), classes, model.vocabulary)
        self._draws = self._shown.draws(c.embed.draws)
        self._codes = self._labels()
        self.empty, self._done = np.zeros(source.n_cells, bool), 0

    def _labels(self):
        """{label: codes i32 [cells]} of metadata and domains of the model; −1 where not known."""
        codes, model = {}, self._model
        for path, one in label_users(model.config.model):
            if path.startswith(("heads.", "conditions.")):
                continue
            names = model.labels[one.label]
            trained = model.tables.get("trained", {}).get(one.label, np.ones(len(names), bool))
            known = {text: k for k, text in enumerate(names) if trained[k]}
            where, texts = self._texts(one.label, known)
            found = codes[one.label] = texts.map(known).fillna(-1).to_numpy(np.int32)
            if (found >= 0).all():
                continue
            names = ", ".join(map(repr, texts[found < 0].unique()[:5]))
            lost = names if texts.any() else "no such column"
            said = f"{where}: {(found < 0).sum()} cells have no class that the model knows ({lost})"
            if path == "domain":
                shown = "normalised by the statistics of all cells seen in training"
            elif one.get("dropout", Metadata.dropout):
                shown = "shown as 'unknown'"
            else:
                never = f"and it never learned 'unknown' (model.{path}.dropout = 0)"
                raise ValueError(f"{said}, {never}")
            warnings.warn(f"{said}; they are {shown}", stacklevel=4)
        return codes

    def _texts(self, label, known):
        """Where each cell's class of a label is read, and the classes' names; '' where nowhere.

        'dataset' is what a file is called, and the value that divides it, as in a store; of a model
        whose store had a label of that name, which the file has too, that one.
        """
        obs, name = self._source.obs, self._source.name
        column = obs[label].astype(str) if label in obs else pd.Series([""] * len(obs))
        if label == "dataset" and not column.isin(list(known)).any():
            each = [dataset_name(name, self._measured_by, value) for value in self._values]
            return f"{name}: its name", pd.Series(np.array(each, object)[self._dataset])
        return f"{name}: obs[{label!r}]", column

    def _flagging(self):
        """Codes i32 [cells, 1], −1: unknown, and {label: classes} of what names flagged genes."""
        c, obs = self._model.config, self._source.obs
        if "flag_genes" not in c.data.transforms:
            return np.empty((len(obs), 0), np.int32), {}
        label = c.data.flag_genes.label
        there = label in obs
        found = obs[label] if there else pd.Series(None, obs.index, object)
        found = found.mask(found.astype(str).str.strip() == "")
        if lost := int(found.isna().sum()):
            warnings.warn(
                f"{self._source.name}: obs[{label!r}]: {lost} cells name no genes"
                f"{'' if there else ' (no such column)'}; none of theirs is flagged as "
                f"{c.data.flag_genes.flag}, as of a control",
                stacklevel=4,
            )
        codes, classes = pd.factorize(found)
        return codes[:, None].astype(np.int32), {label: [str(name) for name in classes]}

    def say_cost(self):
        """Name the cheaper way where showing so many genes costs much more than training did."""
        c, shown = self._model.config, self._shown
        sequence, zeros = "sequence" in c.data.transforms, c.embed.zeros
        if sequence and (zeros == "exclude" or (zeros == "interleave" and not c.embed.genes)):
            return  # expressed genes, or in proportion to them: as many as there are
        specials = len(c.model.front or c.model.specials)
        here, there = (forward_flops(c.model, specials + n) for n in (shown.number, shown.trained))
        other = sequence and zeros != c.data.sequence.zeros  # not as in training
        if other or here * self._draws > 5 * there:
            less = "--zeros exclude" if sequence else f"--genes {shown.trained} --draws 4"
            print(
                f"each cell shows {shown.number} genes, training showed "
                f"{shown.trained}: {here * self._draws / 1e9:,.2g} GFLOP a cell, "
                f"{here * self._draws / there:.2g} times a training cell's. {less} is faster, at "
                "some cost in quality"
            )

    @property
    def draws(self):
        """How often each cell goes through the model."""
        return self._draws

    def __call__(self, chunk, forward, advance=None):
        """The mean of what ``forward`` gives of each draw of these cells.

        advance : called with numbers of cells that went through the model once
        """
        total = None
        for batch in self.batches(chunk):
            found = forward(self.variables, batch, advance)
            total = found if total is None else jax.tree.map(np.add, total, found)
        return jax.tree.map(lambda x: x / self._draws, total)

    def batches(self, chunk):
        """Yield the batch of these cells' tokens, once for each draw of genes."""
        rows, keys = self.cells(chunk)
        for _ in range(self._draws):
            yield self.tokens(rows, keys)
            keys[:, 0] += np.uint64(2**32)  # seeds are below: no two of them share a draw

    def cells(self, chunk):
        """Rows of the next cells, in the model's genes, and the keys of their draws u64 [B, 2]."""
        matrix = self._match.apply(chunk)
        empty = np.diff(matrix.indptr) == 0
        if empty.any() and not self.empty.any():
            warnings.warn(
                f"{self._source.name}: holds cells without any count in the model's genes; their "
                "vectors carry nothing, and their predictions are missing (NaN)",
                stacklevel=4,
            )
        self.empty[self._done : self._done + len(empty)] = empty
        rows = self._rows(matrix, np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel())
        return rows, content_keys(rows, self._seed)

    def tokens(self, rows, keys):
        """The batch of the tokens of what `cells` returned last."""
        batch = self._shown.tokens(rows, self.gene_sets, rows.dataset, keys)
        batch["labels"] = self.labels(len(rows))
        return batch

    def labels(self, cells):
        """{label: codes i32 [cells]} of so many cells, those that `cells` returned last."""
        mine = slice(self._done - cells, self._done)
        return {name: codes[mine] for name, codes in self._codes.items()}

    def _rows(self, matrix, totals):
        cells, start = matrix.shape[0], self._done
        self._done += cells
        return Rows(
            indptr=matrix.indptr.astype(np.int64),
            ids=matrix.indices.astype(np.int32),
            counts=matrix.data.astype(np.float32),
            dataset=self._dataset[start : self._done],
            total=totals.astype(np.float32),
            labels=self._named[start : self._done],
        )

    def provenance(self, checkpoint, seen):
        """What ``uns['jaxcell'][key]`` says about how the vectors came to be."""
        found, c = self._found, self._model.config
        return {
            "jaxcell": __version__,
            "checkpoint": str(checkpoint),
            "checkpoint_hash": self._model.sha256,
            "checkpoint_step": str(self._model.info["step"]),
            "checkpoint_revision": self._model.info.get("revision", ""),  # of the Hub
            "config": c.name,
            "genes_matched": found.n_matched,
            "genes_missing": len(found.missing),
            "genes_unmatched": len(found.unmatched),
            "genes_duplicated": len(found.duplicated),
            "genes_untrained": self._untrained,
            "measured_by": self._measured_by or "",
            "gene_sets": len(self.gene_sets),
            "cells_without_counts": int(self.empty.sum()),
            "values_seen": str(seen),
            "library_size": c.data.normalise.library_size if c.data.normalise.scale else "none",
            "genes_shown": int(self._shown.number),
            "zeros_shown": c.embed.zeros if "sequence" in c.data.transforms else "as drawn",
            "draws": int(self._draws),
            "seed": self._seed,
        }
