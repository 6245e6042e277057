"""What travels with a model beside its weights."""

import numpy as np

from jaxcell import embed
from jaxcell.training import loop
from jaxcell.training.checkpoint import load_model
from tests.conftest import draw_cells
from tests.training.test_training import tiny


def test_a_model_carries_the_training_cells_with_each_gene_and_embeds_by_them(store, tmp_path):
    c = tiny(store, steps=2)
    c.data.sample_genes.temperature = 1.0
    loop.train(c, tmp_path)
    detected = load_model(tmp_path).tables["detected"]
    n_g = store.stats["nonzero"].sum(axis=0)
    np.testing.assert_array_equal(detected[: len(n_g)], n_g)
    assert not detected[len(n_g) :].any()
    cells = draw_cells(5, 20, 300)
    whole = embed(cells.copy(), tmp_path, progress=False).obsm["X_txfm_b_tiny"]
    alone = embed(cells[7:8].copy(), tmp_path, progress=False).obsm["X_txfm_b_tiny"]
    np.testing.assert_array_equal(alone[0], whole[7])
