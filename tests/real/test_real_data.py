"""The whole path on real files: JAXCELL_DATA, or ../shared/data beside the checkout."""

import json
import os
from pathlib import Path

import anndata
import numpy as np
import pytest

import jaxcell
from jaxcell.evaluation.report import evaluate
from jaxcell.main import train
from tests.conftest import ROOT, config_of

DATA = Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data folder at {DATA}; set JAXCELL_DATA"),
]
CASES = {
    "pbmc_5batch_fullgenes": dict(label="cell_type_coarse", held="zheng68k", allow=False),
    "pancreas_3studies_counts": dict(label="cell_type", held=None, allow=True),
    "scmixology_5batch": dict(label="cell_line", held=None, allow=False),
}


@pytest.mark.filterwarnings("ignore:.*non-integer values taken as they are")
@pytest.mark.parametrize("name", CASES)
def test_from_counts_to_report_with_a_batch_held_out(name, tmp_path):
    case, path = CASES[name], DATA / "single_cell" / f"{name}.h5ad"
    adata = anndata.read_h5ad(path)
    held = case["held"] or sorted(adata.obs["batch"].astype(str).unique())[0]
    options = dict(allow_non_integer=case["allow"], progress=False)
    if case["allow"]:
        with pytest.raises(ValueError, match="--allow-non-integer"):
            jaxcell.prepare(tmp_path / "store", [path], progress=False)
        with pytest.warns(UserWarning, match="integer"):
            store = prepare(tmp_path, path, case, held, options)
    else:
        store = prepare(tmp_path, path, case, held, options)
    assert store.sizes["valid"] == (adata.obs["batch"].astype(str) == held).sum()
    rows = store.read("valid", np.arange(store.sizes["valid"]))
    kept = adata[adata.obs["batch"].astype(str) == held]
    np.testing.assert_allclose(rows.total, np.asarray(kept.X.sum(axis=1)).ravel(), rtol=1e-6)

    c = config_of("txfm_b:tiny")
    c.data.store, c.steps, c.embed.micro_batch = str(store.path), 30, 64
    workdir = train(c, tmp_path / "run")
    few = adata[np.random.default_rng(0).permutation(adata.n_obs)[:100]].copy()
    jaxcell.embed(few, workdir, allow_non_integer=case["allow"], progress=False)
    assert np.isfinite(few.obsm["X_txfm_b_tiny"]).all()
    found = evaluate(
        few, ["X_txfm_b_tiny"], label=case["label"], out=tmp_path / "report", **options
    )
    assert found == json.loads((tmp_path / "report" / "results.json").read_text())


def prepare(tmp_path, path, case, held, options):
    return jaxcell.prepare(
        tmp_path / "store",
        [path],
        labels=(case["label"], "batch"),
        hold_out=[f"batch={held}"],
        **options,
    )


@pytest.mark.filterwarnings("ignore:.*cells without any count in the genes")
def test_gene_networks_of_stimulated_cells_beside_known_targets(tmp_path):
    """The whole path on Kang's cells; what a model of 30 steps has learned is not the point."""
    path = DATA / "perturbation" / "kang_ifnb_labelled_1556x1267_muscat.h5ad"
    sets = DATA / "annotation" / "gene_sets"
    store = jaxcell.prepare(tmp_path / "store", [path], hvg=100, progress=False)
    runs = []
    for seed in range(3):
        c = config_of("bioformers_encoder:tiny")
        c.data.store, c.seed, c.steps, c.data.sequence.number = str(store.path), seed, 30, 100
        runs.append(train(c, tmp_path / f"run{seed}"))
    found = jaxcell.network(
        path, runs, condition="stim", label="cell_type", cells=30, resolution=2.0,
        known=sets / "dorothea_hs.tsv.gz", sets=sets / "c2.cp.reactome.v6.2.symbols.gmt.gz",
        out=tmp_path / "net", progress=False,
    )  # fmt: skip
    assert found["attention"]["cells"] == {"ctrl": 30, "stim": 30}
    assert found["attention"]["stability"]["stim"]["models"] == 3
    assert found["known"]["pairs"] > 20
    rows = found["known"]["results"]
    assert {row["method"] for row in rows} >= {"attention", "vectors", "co-expression", "random"}
    assert all(abs(row["auroc_shuffled"] - 0.5) < 0.1 for row in rows)
    assert found == json.loads((tmp_path / "net" / "results.json").read_text())
