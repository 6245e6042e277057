"""The cells that a split lets a model see: nothing of a tested condition is among them."""

import re

import anndata
import h5py
import numpy as np
import pytest

from jaxcell import cli, perturbation_split
from jaxcell.data.prepare import prepare
from jaxcell.evaluation.perturbation import splits
from jaxcell.evaluation.perturbation.conditions import perturbations
from jaxcell.evaluation.perturbation.training_cells import (
    check_unseen,
    seen_in_training,
    training_cells,
    vocabulary,
)
from tests.evaluation.perturbation import planted


@pytest.fixture(scope="module")
def adata():
    """With categories, layers, and what a pipeline leaves behind that saw all cells."""
    found = planted.additive(perturbed=12, doubles=30, cells=5, controls=20, genes=14)
    found.obs["condition"] = found.obs["condition"].astype("category")
    found.obs["cell_line"] = "K562"
    found.layers["more"] = found.X * 2
    found.var["symbol"] = found.var_names
    found.var["means"] = np.asarray(found.X.mean(axis=0)).ravel()
    found.var["highly_variable"] = True
    found.obsm["X_pca"] = np.ones((found.n_obs, 2))
    found.uns["rank_genes_groups_cov_all"] = {name: ["G1"] for name in found.obs["condition"]}
    found.raw = found
    return found


def texts(file):
    """All strings of an h5 file: names of groups, and what text datasets hold."""
    found = set()

    def look(name, item):
        found.update(name.split("/"))
        if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
            found.update(np.atleast_1d(item.asstr()[()]).ravel().tolist())

    with h5py.File(file) as opened:
        opened.visititems(look)
    return found


@pytest.mark.parametrize("kind", ["simulation", "single", "combo"])
def test_no_tested_condition_is_in_the_file(adata, tmp_path, kind):
    data = perturbations(adata)
    split = perturbation_split(
        adata, tmp_path / "s.json", kind=kind, train_cells=tmp_path / "train.h5ad"
    )
    found = anndata.read_h5ad(tmp_path / "train.h5ad")
    kept = {data.named(name) for name in found.obs["condition"].cat.categories}
    assert kept == {"ctrl", *split.train, *split.val}
    parts = found.obs.groupby("part", observed=True)["condition"].unique()
    assert {data.named(n) for n in parts["train"]} == {"ctrl", *split.train}
    assert {data.named(n) for n in parts.get("val", [])} == set(split.val)
    held = {data.written[name] for name in (*split.test, *split.left_out)}
    assert held
    assert not held & texts(tmp_path / "train.h5ad")
    assert list(found.var) == ["symbol"]
    assert found.raw is None
    assert not found.uns
    assert not found.obsm
    same = adata[found.obs_names]
    np.testing.assert_array_equal(found.X.toarray(), same.X.toarray())
    np.testing.assert_array_equal(found.layers["more"].toarray(), same.layers["more"].toarray())


def test_held_out_cells_are_not_in_the_file(adata):
    data = perturbations(adata)
    split = splits.make(data, "cells")
    found = training_cells(adata, data, split)
    assert set(found.obs_names) == set(adata.obs_names) - set(split.test_cells)
    assert set(found.obs["part"]) == {"train"}


def test_a_condition_that_a_split_names_twice_is_tested_not_trained_on(adata):
    data = perturbations(adata)
    split = splits.make(data)
    odd = splits.Split(**{**vars(split), "train": (*split.train, split.test[0])})
    kept = training_cells(adata, data, odd).obs["condition"]
    assert data.written[split.test[0]] not in set(kept)


def test_some_cells_alone_are_split(adata):
    other = adata.copy()
    other.obs["cell_line"] = np.where(np.arange(other.n_obs) % 7 == 0, "RPE1", "K562")
    data = perturbations(other, cells="cell_line=K562")
    found = training_cells(other, data, splits.make(data))
    assert set(found.obs["cell_line"]) == {"K562"}


def test_the_chain_of_commands_needs_no_file_made_by_hand(adata, tmp_path, capsys):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    made = {name: tmp_path / name for name in ("split.json", "train.h5ad", "genes.txt")}
    asked = ["perturb", "split", str(tmp_path / "cells.h5ad"), str(made["split.json"])]
    asked += ["--train-cells", str(made["train.h5ad"]), "--vocabulary", str(made["genes.txt"])]
    cli.main(asked)
    assert "conditions to train on" in capsys.readouterr().out
    for file in made.values():
        other = [str(file) if a == str(file) else a.replace(".", "2.") for a in asked]
        other[2] = asked[2]
        with pytest.raises(SystemExit, match="exists; expected a file to be made"):
            cli.main(other)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["cells.h5ad", *made])
    store = prepare(
        tmp_path / "store", [made["train.h5ad"]], labels=("condition",), hold_out=["part=val"],
        values="log1p", vocabulary=made["genes.txt"], progress=False,
    )  # fmt: skip
    split = splits.Split.read(made["split.json"])
    assert store.sizes["valid"] == 5 * len(split.val)
    assert seen_in_training(store.labels["condition"], split) == ()


def test_one_file_for_two_and_a_column_of_that_name_are_refused(adata, tmp_path):
    file = tmp_path / "s.json"
    with pytest.raises(ValueError, match="out, train_cells: one file for two"):
        perturbation_split(adata, file, train_cells=file)
    other = adata.copy()
    other.obs["part"] = "x"
    with pytest.raises(ValueError, match=r"obs\['part'\] is there already"):
        perturbation_split(other, file, train_cells=tmp_path / "t.h5ad")
    assert not list(tmp_path.iterdir())


def test_perturbed_genes_without_a_column_are_in_the_vocabulary(adata):
    some = adata[:, 3:].copy()
    assert vocabulary(perturbations(some)) == [f"G{i}" for i in range(3, 14)] + ["G0", "G1", "G2"]


def test_a_model_that_saw_tested_conditions_is_named(adata):
    data = perturbations(adata)
    split = splits.make(data)
    classes = ["ctrl", *(data.written[name] for name in split.train)]
    check_unseen(classes, split, "run")
    seen = split.test[1]
    said = f"run: was trained with 1 of the .* tested: {re.escape(seen)}"
    with pytest.raises(ValueError, match=said):
        check_unseen([*classes, data.written[seen]], split, "run")
    turned = "_".join(reversed(seen.split("+"))) if "+" in seen else f"{seen}_none"
    assert seen_in_training([turned], split, control="none", separator="_") == (seen,)
    assert seen_in_training([seen], splits.make(data, "cells")) == ()
