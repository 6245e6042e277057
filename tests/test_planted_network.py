"""A planted regulatory network, found by both routes of models trained on its counts."""

import pytest

from jaxcell import benchmark


@pytest.mark.slow
def test_a_planted_network_is_recovered_by_both_routes_above_chance(tmp_path, capsys):
    results = benchmark("network", tmp_path / "net", planted=True, progress=False)
    known = results["parts"]["network"]["network"]["known"]
    with capsys.disabled():
        print()
        for row in known["results"]:
            name = ", ".join(row[k] for k in ("method", "model", "condition") if row[k])
            print(
                f"{name:45} AUROC {row['auroc']:.3f}  AUPRC {row['auprc']:.3f}  "
                f"targets shuffled {row['auroc_shuffled']:.3f} ± {row['auroc_shuffled_sd']:.3f}"
            )
    assert {row["method"] for row in known["results"]} == {
        "attention", "vectors", "co-expression", "random",
    }  # fmt: skip
    for row in known["results"]:
        assert abs(row["auroc_shuffled"] - 0.5) < 0.06
        difference = row["condition"] == "severed − control"  # of two noisy maps
        if row["method"] in ("attention", "vectors") and not difference:
            assert row["auroc"] > 0.6
            assert row["auroc"] > row["auroc_shuffled"] + 3 * row["auroc_shuffled_sd"]
            assert row["auprc"] > 1.5 * known["base_rate"]
