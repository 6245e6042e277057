"""Curation by consistency: a planted perturbation is kept, noise is not."""

import anndata
import numpy as np
import pytest

import jaxcell
from jaxcell import cli
from jaxcell.training import loop
from tests.conftest import draw_cells
from tests.training.test_training import tiny

ASKED = dict(perturbation="drug", control="none", batch=["plate"])


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(tiny(store, **{"embed.genes": 0, "steps": 2}), workdir)
    return workdir


@pytest.fixture(scope="module")
def treated():
    """Kind 0 everywhere; 'strong' turns cells into another kind, 'noise …' does nothing."""
    adata = draw_cells(7, 600, 300, kinds=2)
    kind = adata.obs["kind"].to_numpy()
    adata = adata[
        np.r_[np.flatnonzero(kind == "kind 0")[:240], np.flatnonzero(kind == "kind 1")[:40]]
    ]
    adata = adata.copy()
    names = np.array(["none"] * 120 + [f"noise {i % 4}" for i in range(110)] + ["few"] * 3
                     + [None] * 7 + ["strong"] * 40, object)  # fmt: skip
    adata.obs["drug"] = names
    adata.obs["plate"] = [f"plate {i % 2}" for i in range(280)]
    return adata


def test_consistent_perturbations_and_controls_are_kept(treated, trained, tmp_path, capsys):
    kept = jaxcell.phenoprint(treated, trained, **ASKED, cut=0.05)
    assert set(kept.obs["drug"]) == {"none", "strong"}
    assert kept.n_obs == 160
    control = kept.obs["drug"] == "none"
    assert kept.obs.loc[control, "phenoprint_p"].isna().all()
    assert (kept.obs.loc[~control, "phenoprint_p"] < 0.05).all()
    assert "phenoprint_p" not in treated.obs
    assert dict(kept.uns["phenoprint"]) | {"checkpoint": ""} == {
        "perturbations": 5, "too_few_cells": 1, "kept": 1, "cells": 160, "cut": 0.05,
        "checkpoint": "",
    }  # fmt: skip
    same = treated[kept.obs_names].X
    np.testing.assert_array_equal(kept.X.toarray(), same.toarray())
    said = capsys.readouterr().out
    assert "kept 1 of 5 perturbations (p < 0.05; 1 more have too few cells), 160 of 280" in said
    assert said.index("strong") < said.index("noise 0")
    everything = jaxcell.phenoprint(treated, trained, **ASKED, cut=1.0, progress=False)
    assert everything.n_obs == 270


def test_the_verb_writes_what_the_function_returns(treated, trained, tmp_path, capsys):
    treated.write_h5ad(tmp_path / "cells.h5ad")
    argv = ["phenoprint", str(tmp_path / "cells.h5ad"), str(tmp_path / "kept.h5ad")]
    argv += ["--checkpoint", str(trained), "--perturbation", "drug", "--control", "none"]
    argv += ["--batch", "plate", "--cut", "0.05"]
    cli.main(argv)
    kept = anndata.read_h5ad(tmp_path / "kept.h5ad")
    assert kept.n_obs == 160
    with pytest.raises(SystemExit, match=r"kept\.h5ad: exists already"):
        cli.main(argv)


def test_nothing_to_keep_is_refused(treated, trained, tmp_path):
    noise = treated[treated.obs["drug"] != "strong"].copy()
    noise.write_h5ad(tmp_path / "cells.h5ad")
    said = (
        r"cells\.h5ad: found none of 4 perturbations with p < 1e-09.*the least p is .*, of [1-4];"
    )
    with pytest.raises(ValueError, match=said):
        jaxcell.phenoprint(tmp_path / "cells.h5ad", trained, **ASKED, cut=1e-9, progress=False,
                           out=tmp_path / "kept.h5ad")  # fmt: skip
    assert not (tmp_path / "kept.h5ad").exists()


def test_what_is_refused(treated, trained):
    for wrong, said in (
        (dict(cut=0), "cut: found 0, expected a p above 0"),
        (dict(control="vehicle"), r"expected --control 'vehicle', in 3 cells or more"),
        (dict(batch="donor"), "obs has no column donor"),
    ):
        with pytest.raises(ValueError, match=said):
            jaxcell.phenoprint(treated, trained, **ASKED | wrong)
    with pytest.raises(FileNotFoundError):
        jaxcell.phenoprint("nowhere.h5ad", trained, **ASKED)
