"""BMFM-RNA, whole-cell expression decoding: 43 887 218 parameters without the label heads.

    python -m jaxcell.main --config=configs/bmfm_rna_wced.py --config.data.store=STORE \
        --config.labels="('cell_type',)"

From one CLS vector every measured gene's expression and whether it is zero. Label heads read other
CLS tokens: cell type (hierarchical, over the Cell Ontology), tissue, donor, sex; name those that
the store has, or () for none. As is, the published checkpoint ('released'); ':paper', what the
paper says; ':pilot', its section 2.1; ':tiny' trains on a laptop in seconds, ':cpu' in minutes;
':bert', ':modern_bert', ':performer', ':nystrom' are other encoders. In place of the hierarchical
loss of cell types: ':flat', cross-entropy over the labels in use as classes, without an ontology;
':sigmoids', a sigmoid for each leaf. ':input' and ':non_input' decode the genes that a cell shows,
or those that it does not; ':rda' tells two depths. They combine, as ':cpu,flat'.
"""

from jaxcell.config import WHOLE_CELL, defaults, sequences, variant, whole_cell


def get_config(name=""):
    c = whole_cell(sequences(defaults()))
    c.name = "bmfm_rna_wced"
    return variant(c, name, **WHOLE_CELL)
