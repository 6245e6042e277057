"""TxFM-B: masked autoencoder of expression, 158.6M parameters at the paper's 44 349 genes.

    python -m jaxcell.main --config=configs/txfm_b.py --config.data.store=STORE

The count: gene table V·d, decoder table V·(d + 1), 12 blocks of 12 d² + 15 d, and 9 d² + 13 d for
the token projection ((d + 1)·d + d), the decoder's residual blocks (8 d² + 8 d), the final norm and
the CLS token. ':tiny' trains on a laptop in seconds.
"""

from jaxcell.config import defaults, variant


def get_config(name=""):
    return variant(defaults(), name)
