"""BMFM-RNA, masked language model: 29 010 818 parameters without the label heads.

    python -m jaxcell.main --config=configs/bmfm_rna_mlm.py --config.data.store=STORE \
        --config.labels="('cell_type',)"

Expression of masked genes, and whether it is zero, from their own tokens; 14.25 % are hidden (a
share of .95 of the 15 % that are chosen), which the paper calls 95 %. Label heads read the pooler;
the donor's is reversed. As is, the published checkpoint ('released'); variants as in
bmfm_rna_wced.py.
"""

from jaxcell.config import BMFM_RNA, defaults, masked_values, sequences, variant


def get_config(name=""):
    c = masked_values(sequences(defaults()))
    c.name = "bmfm_rna_mlm"
    return variant(c, name, **BMFM_RNA)
