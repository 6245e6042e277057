"""Gene vectors of a checkpoint as an AnnData of genes."""

import anndata
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import jaxcell
from jaxcell import cli
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.gene_vectors import _by_part, _tables, table_of
from jaxcell.main import train
from jaxcell.models.expression_heads import VocabularyParts, _Transform
from jaxcell.training.checkpoint import load_model
from tests.training.test_training import tiny


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return train(tiny(store, steps=2), tmp_path_factory.mktemp("run") / "run")


def test_the_rows_are_the_models_tables_without_padding(run):
    adata = jaxcell.genes(run)
    model = load_model(run)
    params = model.variables["params"]
    assert adata.shape == (300, 0)
    assert params["fields"]["gene"]["embedding"].shape == (384, 32)  # padded rows stay behind
    codebook, decoder = params["fields"]["gene"]["embedding"], params["heads"]["expression"]["rows"]
    np.testing.assert_array_equal(adata.obsm["codebook"], codebook[:300])
    np.testing.assert_array_equal(adata.obsm["decoder"], decoder[:300])
    assert {adata.obsm[k].dtype for k in adata.obsm} == {np.dtype("float32")}
    assert adata.obs_names.tolist() == list(model.vocabulary.names)
    np.testing.assert_array_equal(adata.obs["mean"], model.tables["mean"][:300])
    found = adata.uns["jaxcell"]["genes"]
    assert found["checkpoint_hash"] == model.sha256
    assert (found["checkpoint_step"], found["config"]) == ("2", "txfm_b_tiny")


def test_the_file_is_written_once_and_scanpy_reads_it(run, tmp_path, capsys):
    import scanpy

    out = tmp_path / "genes.h5ad"
    cli.main(["genes", "--checkpoint", str(run), str(out)])
    assert capsys.readouterr().out.strip() == str(out)
    adata = scanpy.read_h5ad(out)
    scanpy.pp.neighbors(adata, n_neighbors=5, use_rep="decoder")
    assert adata.obsp["connectivities"].shape == (300, 300)
    with pytest.raises(ValueError, match=r"genes\.h5ad: exists already"):
        jaxcell.genes(run, out)
    with pytest.raises(ValueError, match="its folder does not exist"):
        jaxcell.genes(run, tmp_path / "nowhere" / "genes.h5ad")
    assert [p.name for p in tmp_path.iterdir()] == ["genes.h5ad"]
    np.testing.assert_array_equal(anndata.read_h5ad(out).obsm["decoder"], adata.obsm["decoder"])


def test_symbols_of_several_genes_go_by_ensembl_id(run):
    model = load_model(run)
    ids = tuple(f"ENSG{i:011d}" for i in range(3))
    model.vocabulary = Vocabulary(("MATR3", "", "MATR3"), ids)
    model.tables = {"detected": np.array([4, 0, 2, 0])}
    obs = table_of(model)
    assert obs.index.tolist() == list(ids)
    assert obs["symbol"].tolist() == ["MATR3", "", "MATR3"]
    assert obs["n_cells"].tolist() == [4, 0, 2]


def test_a_model_without_gene_tables_says_what_it_has(run):
    model = load_model(run)
    del model.variables["params"]["fields"]["gene"]
    assert list(_tables(model, run)) == ["decoder"]
    del model.variables["params"]["heads"]
    with pytest.raises(ValueError, match=r"no gene table at .*fields/combine/kernel"):
        _tables(model, run)


def test_a_genes_parts_are_those_that_its_head_reads():
    """Whole-cell decoding: the first part's vectors give expression, the second's is_zero."""
    cell = jax.random.normal(jax.random.key(0), (4, 8))
    head = VocabularyParts(rows=5, token_rows=7, tokens=7)
    variables = head.init(jax.random.key(1), cell, {})
    x = _Transform("torch").apply({"params": variables["params"]["transform"]}, cell)
    rows = np.asarray(variables["params"]["rows"])[:5]
    found = _by_part(ConfigDict({"kind": "vocabulary_parts"}), "decoder", rows)
    logits = head.apply(variables, cell, {})  # the biases start at 0
    for name, part in (("decoder", "expression"), ("decoder_is_zero", "is_zero")):
        np.testing.assert_allclose(x @ found[name].T, logits[part], rtol=1e-5, atol=1e-6)
