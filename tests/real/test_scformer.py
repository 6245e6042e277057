"""The published checkpoint of scFormer: its stored outputs, and real cells embedded with it."""

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import jaxcell
from jaxcell.models.cell import CellModel
from jaxcell.models.fields import Fields
from jaxcell.training.checkpoint import load_model
from tests.real.test_real_data import DATA

CHECKPOINT = DATA / "checkpoints" / "scformer_pbmc"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not CHECKPOINT.is_dir(), reason=f"no {CHECKPOINT}; set JAXCELL_DATA"),
]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("converted") / "scformer"
    made = jaxcell.convert(CHECKPOINT, out)
    assert (len(made.used), made.parameters, made.genes) == (69, 178_762, 999)
    return out


def test_stored_outputs_at_real_tokens(converted):
    """Ids are alike here: its vocabulary has the genes first, and then the special tokens."""
    stored, model = np.load(CHECKPOINT / "ref_outputs.npz"), load_model(converted)
    inside, c = ~stored["pad_mask"], model.config.model
    values = stored["values"].copy()
    assert ((values[:, 1:] != 0) == inside[:, 1:]).all()  # no zeros are shown
    values[values == -1] = -(len(c.specials) + 1)
    values[:, 0] = -(1 + c.specials.index("<cls>"))
    batch = {"ids": stored["ids"].astype(np.int32), "values": values, "length": inside.sum(1)}
    batch = jax.tree.map(jnp.asarray, batch) | {"labels": {}}
    net, fields = CellModel(c), {}
    with jax.default_matmul_precision("highest"):
        found, _ = net.apply(model.variables, batch, {}, train=False, tokens=True)
        own = {"params": model.variables["params"]["fields"]}
        Fields(net.spec).apply(own, batch, train=False, keep=fields)
    ours = {"gene_embs": fields["gene"], "value_embs": fields["value"], "hidden": found["tokens"]}
    ours |= {"mlm_output": found["heads"]["mgm"]}
    for name, x in ours.items():
        x, want = np.asarray(x)[inside], stored[name][inside]
        np.testing.assert_allclose(x, want, rtol=0, atol=1e-5, err_msg=name)
    for name, x in {"cls_output": found["heads"]["cls"], "cell_emb": found["cell"]}.items():
        np.testing.assert_allclose(x, stored[name], rtol=0, atol=1e-5, err_msg=name)


def test_real_cells_are_embedded_and_told_apart(converted):
    """Its nine classes, whose names are lost, part the cells much as their types do."""
    adata = anndata.read_h5ad(DATA / "single_cell" / "pbmc3k_500x13865.h5ad")[:200].copy()
    jaxcell.embed(adata, converted, progress=False)
    vectors = adata.obsm["X_scformer"]
    assert vectors.shape == (200, 64)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1).std() > 0.01
    types, classes = (adata.obs[name].astype(str) for name in ("cell_type", "cls_pred"))
    assert adjusted_rand_score(types, classes) > 0.4
    assert jaxcell.genes(converted).obsm["codebook"].shape == (999, 64)
