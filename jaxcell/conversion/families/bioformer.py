"""BioFormer's checkpoints (Ho & Le): a file of its trainer's, and beside it the list of its genes.

V genes, D width. Two models have such checkpoints: the one that is trained, with a study embedding
and an adversary of studies, and the one that is evaluated, without. Shapes tell their sizes, and
the list, ``selected_genes.txt``, one gene a line, which is which row. What is converted does as the
released code does:

- no special token: the list's genes stand in its order, whether a cell has counts of them or a file
  knows them at all (zeros then, as in the code), and the cell's vector is that of the first one
- bins of a cell's counts of these genes, ties to the lowest; genes without a count are zero vectors
  that are attended to
- the cell type's embedding is part of every token

but for the last: the code feeds the true types of the cells it is tested on, from which the
published scores come. Here a cell shows 'unknown', the mean of the rows, unless obs has a column of
the name that no file has by chance, ``released_cell_type``. So it is with studies, by the label
'dataset', as everywhere.
"""

from pathlib import Path

import numpy as np

from jaxcell import config
from jaxcell.conversion.described import Described, Family, Tensors
from jaxcell.conversion.files import read_lines
from jaxcell.conversion.rules.bioformer import RULES
from jaxcell.data.genes import strip_version
from jaxcell.data.vocabulary import Vocabulary

GENES = "selected_genes.txt"
HEADS = 8  # of attention, 512 / 64
TYPE, STUDY = "released_cell_type", "dataset"  # labels of ours: what the rows of its tables are of
PERTURBATION = "perturb_embedding.weight"  # of the model that is tuned on perturbations


def describe(source, genes=None, heads=None):
    """The model that a checkpoint of BioFormer holds.

    Parameters
    ----------
    source : `files.Source`
    genes : in the order of the rows: a list, or a text file with one a line; None:
        selected_genes.txt beside the weights
    heads : of attention, which no tensor tells; None: 8

    Returns
    -------
    Described

    Raises
    ------
    ValueError
        A tensor or the list is missing, or the list does not fit.
    """
    if PERTURBATION in source.tensors:
        raise ValueError(
            f"the tensor {PERTURBATION} is of BioFormer's perturbation model, for which there is "
            "no part here; convert the checkpoint that it was tuned from"
        )
    t = Tensors(source.tensors, "BioFormer")
    rows = t.shape("gene_embedding.weight", 2)[0]
    vocabulary = _vocabulary(source.weights.with_name(GENES) if genes is None else genes, rows)
    c = config.BIOFORMER["code"](config.bioformer(config.defaults()))
    c.name, c.model.vocabulary = "bioformer", rows
    _sizes(c, t, HEADS if heads is None else heads)
    _tokens(c, t)
    said = [
        f"no tensor tells the heads of attention: {c.model.encoder.heads}"
        + (", as published; --heads N for another" if heads is None else ""),
        "the cell type is part of what this model is shown, and the released evaluation fed it the "
        "true one, which its scores leak. Here a cell shows 'unknown', the mean of the "
        f"{t.shape('cell_type_embedding.weight', 2)[0]} types, unless obs has {TYPE!r}; never "
        "score a model on types that it was shown",
        "a gene of the list that a file lacks is shown as a zero, as the released code does",
    ]
    classes = {TYPE: (c.model.metadata.cell_type.classes, "class", "cell_type_embedding.weight")}
    classes |= _studies(c, t)
    c = config.settled(c)
    config.check(c)
    return Described(c, vocabulary, np.arange(rows), classes, said, {}, {})


def _vocabulary(given, rows):
    """The genes of a list, or of a text file with one a line, one for each row."""
    where = given if isinstance(given, str | Path) else "genes"
    if isinstance(given, str | Path):
        if not Path(given).is_file():
            raise ValueError(
                f"{given}: does not exist; BioFormer's checkpoints name no gene: put the list of "
                f"the {rows} genes there, one a line, or name it by genes (--genes FILE)"
            )
        given = read_lines(given)
    names = [str(name) for name in given]
    if len(names) != rows:
        raise ValueError(
            f"{where}: found {len(names)} genes, expected {rows}, as gene_embedding.weight has rows"
        )
    ensembl = [strip_version(name) or "" for name in names]
    symbols = ["" if e else name for name, e in zip(names, ensembl, strict=True)]
    try:
        return Vocabulary(symbols, ensembl, ())
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _sizes(c, t, heads):
    m, e = c.model, c.model.encoder
    m.width = t.shape("gene_embedding.weight", 2)[1]
    e.layers = t.numbers(r"transformer\.layers\.(\d+)\.")
    e.hidden, e.heads = t.shape("transformer.layers.0.linear1.weight", 2)[0], heads
    if heads < 1 or m.width % heads:
        raise ValueError(f"heads: found {heads}, expected a divisor of the width, {m.width}")


def _tokens(c, t):
    """Genes alone, each at its own place, and the bins that they show."""
    m, data, bins = c.model, c.data, t.shape("value_embedding.weight", 2)[0]
    m.specials = m.front = ()
    m.pool = "first"
    m.fields.value.number, m.fields.value.codes = bins, (0,)  # a hidden value shows the bin of zero
    m.heads.mlm.outputs = data.bin.number = bins
    data.sequence.number = m.vocabulary
    data.sequence.order = data.sequence.zeros = c.embed.zeros = "vocabulary"
    types = t.shape("cell_type_embedding.weight", 2)[0]
    m.metadata.cell_type = {"label": TYPE, "classes": types, "place": "all", "dropout": 0.1}
    del c.losses["ecs"]  # of cell types, which the checkpoint need not have been told
    c.labels = ()


def _studies(c, t):
    """Their embedding and their adversary, which the model that is trained has; {label: …}."""
    tensor = "study_embedding.weight"
    if tensor not in t:
        c.batch = ""  # settling takes both away
        return {}
    number = t.shape(tensor, 2)[0]
    c.model.metadata.study.classes = number
    c.model.heads.study.classes = t.shape("adv_head.weight", 2)[0]
    if c.model.heads.study.classes != number:
        raise ValueError(
            f"the tensors have different numbers of studies ({tensor}: {number}, adv_head.weight: "
            f"{c.model.heads.study.classes})"
        )
    return {STUDY: (number, "batch", tensor)}


def recognises(source):
    """Whether these are the names of BioFormer's tensors."""
    names = ("gene_embedding", "value_embedding", "cell_type_embedding", "cont_head")
    return sum(f"{name}.weight" in source.tensors for name in names) > 1


FAMILY = Family(recognises, describe, RULES, options=("genes", "heads"))
