"""TxFM-B as trained on a CELLxGENE atlas: 185.1M parameters at 61 600 genes.

    python -m jaxcell.main --config=configs/txfm_b_cxg.py --config.data.store=STORE

The paper does not print this vocabulary; 61 600 genes give its 185M.
"""

from jaxcell.config import defaults, variant


def get_config(name=""):
    c = defaults()
    c.name = "txfm_b_cxg"
    c.model.vocabulary = 61_600
    c.data.sample_genes.number = 1024
    c.train.batch_size = 6144
    c.epochs = 50
    return variant(c, name)
