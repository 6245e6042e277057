"""BioFormers (Biostate), decoder-only: the same tokens, each predicts the next gene's bin.

    python -m jaxcell.main --config=configs/bioformers_decoder.py --config.data.store=STORE

Input i is gene i, its value, and a query of gene i + 1; genes stand in a drawn order. The cell's
vector is the last token's. `jaxcell complete` fills in the genes that a file did not measure.
':by_value' puts the highest first and predicts which gene comes next, without a query. ':normalised',
':external', ':cpu', ':tiny' as of the encoder.
"""

from jaxcell.config import BIOFORMERS_DECODER, bioformers, causal, defaults, variant


def get_config(name=""):
    c = causal(bioformers(defaults()))
    c.name = "bioformers_decoder"
    return variant(c, name, **BIOFORMERS_DECODER)
