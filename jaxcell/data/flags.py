"""Genes that a cell's label names, such as the perturbed ones, as flags of their tokens.

B cells, T tokens, F genes that a class names at most.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data.genes import strip_version

NONE = -1  # no gene


@dataclass
class FlagGenes:
    """Flag the tokens of genes that a cell's label names: flags/<flag> i32 [B, T], 1 there, else 0.

    These genes stand first in the line of `Sequence`, whatever their counts, and are always shown.
    A cell without a class flags none. Source: BMFM-RNA, 'perturbed genes first'.

    flag : its name; a field reads it as 'flags.<flag>'
    label : column of the store whose classes name genes, by symbol or Ensembl id: 'KLF1', 'A+B'
    separator : between the genes of a class; '': a class is one gene
    control : what stands for no gene, alone ('ctrl') or beside one ('KLF1+ctrl')
    unmeasured : 'refuse' cells that did not measure a gene of their class; or 'show' the gene as a
        zero, to say what was done (no loss compares it)
    labels, genes : {label: classes} and Vocabulary of the cells
    """

    flag: str = "perturbed"
    label: str = ""
    separator: str = "+"
    control: str = "ctrl"
    unmeasured: str = "refuse"
    labels: dict | None = None
    genes: object = None

    def __post_init__(self):
        for name in ("flag", "label"):
            if not getattr(self, name):
                raise ValueError(f"config.data.flag_genes.{name}: found '', expected a name")
        if self.unmeasured not in ("refuse", "show"):
            raise ValueError(
                f"config.data.flag_genes.unmeasured: found {self.unmeasured!r}, expected refuse or "
                "show"
            )
        if self.labels is not None:
            self._column, self._classes = self._found()
            self.table = self._resolved()

    @property
    def most(self):
        """F; 0 as long as the cells' classes are not known."""
        return 0 if self.labels is None else self.table.shape[1]

    def of(self, draft):
        """Genes that each cell's label names, i32 [B, F], −1 behind the last.

        Raises
        ------
        ValueError
            A cell did not measure one of them: its count is unknown, and no token can show it.
        """
        codes = draft.rows.labels[:, self._column]
        self._refuse_unmeasured(codes, draft.gene_set, draft.gene_sets)
        return self.table[codes]  # code −1: the last row

    def __call__(self, draft):
        ids, length = draft.batch["ids"], draft.batch["length"]
        flags = np.zeros(ids.shape, bool)
        for gene in self.table[draft.rows.labels[:, self._column]].T:
            flags |= ids == gene[:, None]
        flags &= np.arange(ids.shape[1]) < length[:, None]  # padding bears the id of gene 0
        draft.batch.setdefault("flags", {})[self.flag] = flags.astype(np.int32)

    def check(self, store, paired=None):
        """Refuse a store with cells that did not measure what their label names.

        paired : function: split -> `Pairs`; of cells whose tokens show another cell

        Raises
        ------
        ValueError
            The genes, and a dataset that lacks them.
        """
        genes = [np.flatnonzero(m) for m in store.measured]
        for split in (split for split, cells in store.sizes.items() if cells):
            if paired is not None:
                self._refuse_unmeasured(*paired(split).gene_sets(split).T, genes)
                continue
            codes = store.index(split, "labels")[:, self._column].astype(np.int64)
            pairs = np.unique((codes + 1) * len(store.names) + store.index(split, "dataset"))
            codes, dataset = np.divmod(pairs, len(store.names))
            self._refuse_unmeasured(codes - 1, store.gene_set[dataset], genes)

    def _found(self):
        """Place of the label among the cells' labels, and its classes."""
        if self.label not in self.labels:
            raise ValueError(
                f"config.data.flag_genes.label: found {self.label!r}, expected one of the store's "
                f"labels: {', '.join(self.labels) or 'it has none'}"
            )
        return list(self.labels).index(self.label), self.labels[self.label]

    def _resolved(self):
        """Genes of each class and, in the last row, of none: i32 [classes + 1, F]."""
        named, unknown = [[] for _ in range(len(self._classes) + 1)], []
        for row, text in zip(named, self._classes, strict=False):
            parts = text.split(self.separator) if self.separator else [text]
            for part in (part.strip() for part in parts):
                if part in ("", self.control):
                    continue
                try:
                    gene = self._gene(part)
                except KeyError as error:
                    unknown.append(f"{text!r}: {error.args[0]}")
                else:
                    row += [gene] if gene not in row else []
        if unknown:
            more = f"; and {len(unknown) - 20} more" if len(unknown) > 20 else ""
            raise ValueError(
                f"config.data.flag_genes: {len(unknown)} names of {self.label} are not genes of "
                f"the vocabulary, nor the control {self.control!r}: {'; '.join(unknown[:20])}{more}"
            )
        table = np.full((len(named), max(map(len, named))), NONE, np.int32)
        for row, found in zip(table, named, strict=True):
            row[: len(found)] = found
        return table

    def _gene(self, name):
        token = self.genes.index(strip_version(name) or name)
        if token >= len(self.genes):
            raise KeyError(f"{name!r} is a special token")
        return token

    def _refuse_unmeasured(self, codes, gene_set, gene_sets):
        """Refuse cells with these classes [n] and gene sets [n] that lack a gene of their class."""
        lacks = {}
        if self.unmeasured == "show":
            return
        for one in np.unique(gene_set):
            classes = np.unique(codes[gene_set == one])
            known = np.isin(self.table[classes], gene_sets[one]) | (self.table[classes] == NONE)
            for code in classes[~known.all(axis=1)]:
                lacks[self._classes[code]] = None
        if lacks:
            raise ValueError(
                f"config.data.flag_genes: {self.label} names genes that its cells did not measure, "
                "so that no token can show them (flag_genes.unmeasured = 'show' shows zeros): "
                f"{', '.join(lacks)}"
            )
