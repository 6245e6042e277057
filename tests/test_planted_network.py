"""A planted regulatory network, found by both routes of a model trained on its counts."""

import pytest

import jaxcell
from jaxcell.evaluation.networks.planted import planted_cells, planted_names
from tests.test_networks import tiny_run


@pytest.mark.slow
def test_a_planted_network_is_recovered_by_both_routes_above_chance(tmp_path):
    adata = planted_cells(0)
    _, _, pairs = planted_names()
    (tmp_path / "known.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    store = jaxcell.prepare(tmp_path / "store", [adata], hold_out_fraction=0.1, progress=False)
    fields = {
        "model.encoder.dropout": 0.0,
        "model.encoder.hidden": 32,
        "train.batch_size": 32,
        "optimizer.warmup_steps": 20,
        "data.draw_masks.ratio": 0.3,
    }
    run = tiny_run(tmp_path, store, steps=600, **fields)
    found = jaxcell.network(
        adata, run, condition="state", known=tmp_path / "known.tsv", cells=150, resolution=1.0,
        out=tmp_path / "net", progress=False,
    )  # fmt: skip
    print()
    for row in found["known"]["results"]:
        name = " ".join(row[k] for k in ("method", "condition"))
        print(
            f"{name:24} AUROC {row['auroc']:.3f}  AUPRC {row['auprc']:.3f}  "
            f"targets shuffled {row['auroc_shuffled']:.3f} ± {row['auroc_shuffled_sd']:.3f}"
        )
    assert {row["method"] for row in found["known"]["results"]} == {
        "attention", "vectors", "co-expression", "random",
    }  # fmt: skip
    for row in found["known"]["results"]:
        assert abs(row["auroc_shuffled"] - 0.5) < 0.05
        if row["method"] in ("attention", "vectors"):
            assert row["auroc"] > 0.6
            assert row["auroc"] > row["auroc_shuffled"] + 3 * row["auroc_shuffled_sd"]
            assert row["auprc"] > 1.5 * found["known"]["base_rate"]
