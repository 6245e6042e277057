"""TxFM-L: 402.7M parameters at 44 349 genes.

python -m jaxcell.main --config=configs/txfm_l.py --config.data.store=STORE
"""

from jaxcell.config import defaults, variant


def get_config(name=""):
    c = defaults()
    c.name = "txfm_l"
    c.model.width = 1024
    c.model.encoder.layers = 24
    c.model.encoder.heads = 16
    c.model.encoder.drop_path = 0.3
    return variant(c, name)
