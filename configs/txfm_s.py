"""TxFM-S: 56.7M parameters at 44 349 genes.

    python -m jaxcell.main --config=configs/txfm_s.py --config.data.store=STORE

12 blocks, where the paper's Table 6 prints 6: six would give 46.1M, twelve give its 57M.
"""

from jaxcell.config import defaults, variant


def get_config(name=""):
    c = defaults()
    c.name = "txfm_s"
    c.model.width = 384
    c.model.encoder.heads = 6
    return variant(c, name)
