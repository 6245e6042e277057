"""What embedding writes of label heads, and whose vectors of sequences are; of a short training."""

import itertools
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell import annotation, config, embed, main
from jaxcell.data.ontology import Ontology
from jaxcell.predictions import check_decoding, columns, label_heads, pooler_trained, softmax
from jaxcell.training.checkpoint import load_model
from tests.conftest import config_of, draw_labelled, labelled_config

KEY, MLM = "X_bmfm_rna_wced_tiny", "X_bmfm_rna_mlm_tiny"
COLUMNS = {
    *(f"cell_type_{c}" for c in ("pred", "pred_id", "pred_prob", "pred_lineage")),
    *("tissue_pred", "tissue_pred_prob", "age_pred", "markers_pred"),
}


# By hand

IDS = ("CL:0", "CL:1", "CL:2", "CL:3", "CL:4")
NAMES = ("cell", "lymphocyte", "T", "B", "mono")
TREE = Ontology(IDS, NAMES, ((), (0,), (1,), (1,), (0,)), ((),) * 5, "by hand")  # leaves: 2, 3, 4


def model_of(kind="hierarchical", **losses):
    c = config_of("bmfm_rna_wced:tiny")
    c.model.heads.number = {"kind": "classifier", "label": "age", "classes": 1}
    c.model.heads.several = {"kind": "classifier", "label": "markers", "classes": 3}
    for name, label in (("number", "age"), ("several", "markers")):
        c.losses[name] = {**c.losses.tissue, "pred": f"heads.{name}"}
        c.losses[name].target = f"batch.targets.{label}"
    c.targets = {"age": "number", "markers": "several"}
    c.losses.cell_type.kind = kind
    labels = {"tissue": ["blood", "gut"], "markers": ["b|a", "c"], "age": ["1", "2"]}
    labels |= {"cell_type": ["x"], "tissue_general": ["y"], "donor": ["d"], "sex": ["f"]}
    return SimpleNamespace(config=c, labels=labels, ontologies={"cell_type": TREE})


def test_columns_of_classes_numbers_and_several_names_by_hand():
    model = model_of()
    found = columns(model, "tissue", np.log([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]))
    assert list(found) == ["tissue_pred", "tissue_pred_prob"]
    assert found["tissue_pred"].tolist() == ["gut", "blood", "blood"]
    np.testing.assert_allclose(found["tissue_pred_prob"], [0.8, 0.5, 0.9], rtol=1e-6)
    assert found["tissue_pred_prob"].dtype == np.float32
    number = columns(model, "number", np.array([[1.5], [-2]], np.float32))
    assert {k: v.tolist() for k, v in number.items()} == {"number_pred": [1.5, -2]}
    several = columns(model, "several", np.array([[1.0, -1, 2], [-1, -1, -1], [-1, 3, -1]]))
    assert {k: v.tolist() for k, v in several.items()} == {"several_pred": ["a|c", "", "b"]}


P = np.array([[0.36, 0.34, 0.30], [0.05, 0.05, 0.9], [0.3, 0.3, 0.4], [0.72, 0.18, 0.1]])


@pytest.mark.parametrize(
    ("decode", "names", "mass"),
    [
        ("leaf", ["T", "mono", "mono", "T"], [0.36, 0.9, 0.4, 0.72]),
        ("greedy", ["T", "mono", "T", "T"], [0.36, 0.9, 0.3, 0.72]),
        (0.7, ["lymphocyte", "mono", "cell", "T"], [0.7, 0.9, 1, 0.72]),
    ],
)
def test_terms_by_hand(decode, names, mass):
    logits = np.log(P) + np.array([[1.0], [-3], [0], [5]])
    found = columns(model_of(), "cell_type", logits, decode)
    assert {k.removeprefix("cell_type_") for k in found} == {
        *("pred", "pred_id", "pred_prob", "pred_lineage")
    }
    assert found["cell_type_pred"].tolist() == names
    ids = dict(zip(TREE.names, IDS, strict=True))
    assert found["cell_type_pred_id"].tolist() == [ids[n] for n in names]
    np.testing.assert_allclose(found["cell_type_pred_prob"], mass, rtol=1e-6)
    lineage = {
        "T": "cell > lymphocyte > T",
        "mono": "cell > mono",
        "lymphocyte": "cell > lymphocyte",
        "cell": "cell",
    }
    assert found["cell_type_pred_lineage"].tolist() == [lineage[n] for n in names]


def test_sigmoids_are_not_taken_for_a_distribution():
    model, logits = model_of("independent_sigmoids"), np.array([[2.0, 1, -800], [-1, -3, -2]])
    found = columns(model, "cell_type", logits)
    assert found["cell_type_pred"].tolist() == ["T", "T"]
    np.testing.assert_allclose(found["cell_type_pred_prob"], 1 / (1 + np.exp([-2, 1])), rtol=1e-6)


def test_softmax_survives_large_logits():
    expected = [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0]
    np.testing.assert_allclose(softmax([[1e4, 1e4 - 1, 0]])[0], expected)


def test_only_heads_that_were_trained_to_predict_do():
    model = model_of()
    assert set(label_heads(model)) == {
        *("cell_type", "tissue", "tissue_general", "donor", "sex", "number", "several")
    }
    model.config.model.heads.donor.reverse = 1.0  # the encoder has learned to hide it
    model.config.losses.sex.weight = 0.0
    del model.config.losses["tissue_general"]
    assert set(label_heads(model)) == {"cell_type", "tissue", "number", "several"}


def test_a_pooler_is_trained_by_what_reads_it():
    wced, mlm = config_of("bmfm_rna_wced"), config_of("bmfm_rna_mlm")
    assert not pooler_trained(wced)
    assert pooler_trained(mlm)
    wced.model.heads.tissue.reads, wced.model.pool = "cell", "cls+pooler"
    assert pooler_trained(wced)
    mlm.labels = ("tissue",)
    mlm = config.settled(mlm)
    assert pooler_trained(mlm)
    mlm.losses.tissue.weight = 0.0
    assert not pooler_trained(mlm)


@pytest.mark.parametrize("decode", ["best", "0", 1.0, -0.1, "nan", None])
def test_a_decoding_that_is_none_is_refused(decode):
    with pytest.raises(ValueError, match="decode: found .* expected leaf, greedy, or a pr"):
        check_decoding(decode)
    assert check_decoding("0.7") == 0.7


# End to end


def trained_on(labelled, folder, name, steps):
    c = labelled_config(labelled, name)
    c.steps, c.train.validate_every, c.stages = steps, steps, ("train", "embed")
    c.embed.input, c.train.gene_errors = str(labelled / "cells.h5ad"), ""
    c.optimizer.learning_rate = 1e-2
    assert main.run(c, folder)
    return folder


@pytest.fixture(scope="module")
def wced(labelled, tmp_path_factory):
    """Trained, and embedded by the stage behind it, heads and classes being the store's."""
    return trained_on(labelled, tmp_path_factory.mktemp("wced"), "bmfm_rna_wced:tiny", 100)


@pytest.fixture(scope="module")
def mlm(labelled, tmp_path_factory):
    return trained_on(labelled, tmp_path_factory.mktemp("mlm"), "bmfm_rna_mlm:tiny", 4)


@pytest.fixture
def cells():
    """New cells of all organs; of very different length, so that they fall into many buckets."""
    adata = draw_labelled(11, 45)
    dense, random = adata.X.toarray(), np.random.default_rng(0)
    for b in range(0, 45, 3):
        dense[b, random.random(100) < 0.9] = 0
        dense[b, 7] = 3
    dense[0, np.arange(100) != 7] = 0
    adata.X = dense
    return adata


def put(adata, checkpoint, **options):
    return embed(adata.copy(), checkpoint, progress=False, **options)


def test_labels_are_learned_and_written(labelled, wced):
    found = anndata.read_h5ad(wced / "embeddings.h5ad")  # of the stage embed
    new = [name for name in found.obs if "_pred" in name]
    assert set(new) == COLUMNS  # and nothing of the donor, whose head is reversed
    for name in new:
        numbers = name.endswith("_prob") or name == "age_pred"
        assert isinstance(found.obs[name].dtype, pd.CategoricalDtype) != numbers, name
        if numbers:
            assert found.obs[name].dtype == np.float32
    assert found.uns["jaxcell"][KEY]["decode"] == "leaf"
    obs = found.obs
    leaf = obs["cell_type"].isin(["T cell", "B cell", "monocyte"])
    assert (obs["cell_type_pred"] == obs["cell_type"].astype(str))[leaf].mean() > 0.8
    coarse = obs["cell_type"] == "lymphocyte"
    assert obs["cell_type_pred_lineage"][coarse].str.contains(" > lymphocyte > ").mean() > 0.8
    assert (obs["tissue_pred"] == obs["organ"].astype(str)).mean() > 0.9
    assert (obs["markers_pred"].astype(str) == obs["markers"].astype(str)).mean() > 0.7
    known = obs["age"].notna()
    age = obs["age"][known].astype(float)
    assert np.abs(obs["age_pred"][known] - age).mean() < 0.5 * np.abs(age - age.mean()).mean()
    assert found.obs_names.tolist() == anndata.read_h5ad(labelled / "cells.h5ad").obs_names.tolist()


def test_a_file_gets_the_columns_that_memory_gets_and_keeps_its_own(cells, wced, tmp_path):
    cells.obs.index.name = "barcode"
    cells.obs["tissue_pred"] = "old"
    cells.obs["n"] = np.arange(45)
    cells.write_h5ad(tmp_path / "in.h5ad")
    with pytest.warns(UserWarning, match=r"obs\['tissue_pred'\] was there and is replaced"):
        memory = put(cells, wced, decode="greedy", probabilities=True)
    with pytest.warns(UserWarning, match=r"obs\['tissue_pred'\] was there and is replaced"):
        embed(
            *(tmp_path / "in.h5ad", wced), out=tmp_path / "out.h5ad", decode="greedy",
            probabilities=True, progress=False,
        )  # fmt: skip
    file = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert file.obs.index.name == "barcode"
    assert set(file.obs) == set(memory.obs) == set(cells.obs) | COLUMNS
    for name in file.obs:
        pd.testing.assert_series_equal(file.obs[name].astype(str), memory.obs[name].astype(str))
    leaves = memory.obsm["cell_type_leaves"]
    np.testing.assert_array_equal(file.obsm["cell_type_leaves"], leaves)
    assert leaves.dtype == np.float32
    np.testing.assert_allclose(leaves.sum(axis=1), 1, rtol=1e-5)
    said = file.uns["jaxcell"][KEY]
    assert list(said["cell_type_leaves"]) == ["CL:0000084", "CL:0000236", "CL:0000576"]
    assert said["decode"] == "greedy"
    assert said["pooling"] == "cls"
    del cells.obs["tissue_pred"]
    leaf = put(cells, wced).obs
    best = np.array(["T cell", "B cell", "monocyte"])[leaves.argmax(axis=1)]
    assert (leaf["cell_type_pred"].astype(str) == best).all()
    np.testing.assert_allclose(leaf["cell_type_pred_prob"], leaves.max(axis=1), rtol=1e-6)
    sure = put(cells, wced, decode=0.7).obs
    assert (sure["cell_type_pred_prob"] >= 0.7).all()
    assert set(sure["cell_type_pred"]) <= {"cell", "lymphocyte", "T cell", "B cell", "monocyte"}


def test_vectors_and_logits_are_a_cells_own(cells, wced, mlm):
    for checkpoint, key, pools in ((wced, KEY, ("cls", "mean")), (mlm, MLM, "pooler")):
        whole = put(cells, checkpoint, pooling=pools)
        lengths = (cells.X > 0).sum(axis=1)
        assert lengths.min() == 1
        assert lengths.max() > 40
        assert len(np.unique(whole.obsm[key], axis=0)) > 40  # cells of one gene may be alike
        order = np.random.default_rng(1).permutation(45)
        others = [(put(cells[order], checkpoint, pooling=pools), order)]
        others += [(put(cells, checkpoint, pooling=pools, batch_size=7), np.arange(45))]
        others += [(put(cells[k : k + 1], checkpoint, pooling=pools), [k]) for k in (0, 1)]
        for other, rows in others:
            np.testing.assert_array_equal(other.obsm[key], whole.obsm[key][rows])
            for name in ("tissue_pred_prob", "age_pred"):
                np.testing.assert_array_equal(other.obs[name], whole.obs[name].iloc[rows])


def test_pooling_and_what_is_refused_of_it(cells, wced, mlm):
    parts = [put(cells, mlm, pooling=p).obsm[MLM] for p in ("cls", "mean", "pooler", "<sep>")]
    joined = put(cells, mlm, pooling=["cls", "mean", "pooler", "<sep>"])
    np.testing.assert_allclose(joined.obsm[MLM], np.concatenate(parts, axis=1), atol=1e-6)
    assert joined.uns["jaxcell"][MLM]["pooling"] == "cls+mean+pooler+<sep>"
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.pairwise(parts))
    assert (np.abs(parts[2]) <= 1).all()
    for options, text in (
        ({"pooling": "pooler"}, "pooling: the pooler of .* was never trained"),
        ({"pooling": ["cls", "pooler"]}, "pooling: the pooler of .* was never trained"),
        (
            {"pooling": "max"},
            r"pooling: .*found 'max', expected cls, mean, weighted, last, pooler, <cls>",
        ),
        ({"pooling": []}, "pooling: .*found none"),
        ({"decode": "best"}, "decode: found 'best'"),
    ):
        with pytest.raises(ValueError, match=text):
            put(cells, wced, **options)
    with pytest.raises(ValueError, match=r"the pooler reads the last block, not the 1\. of 2"):
        put(cells, mlm, pooling="pooler", layer=1)
    early = put(cells, mlm, layer=1)
    assert not COLUMNS & set(early.obs)  # heads read the last block


def test_a_call_says_which_zeros_are_shown_and_hears_what_they_cost(cells, mlm, capsys):
    plain = put(cells, mlm)
    found = embed(cells.copy(), mlm, zeros="all")
    assert np.abs(found.obsm[MLM] - plain.obsm[MLM]).max() > 1e-3
    said = [one.uns["jaxcell"][MLM]["zeros_shown"] for one in (plain, found)]
    assert said == ["exclude", "all"]
    printed = capsys.readouterr().out
    assert "each cell shows 100 genes, training showed" in printed
    assert "--zeros exclude is faster" in printed
    embed(cells[:3].copy(), mlm, zeros="interleave")
    assert "GFLOP" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="embed.zeros: found 'random', expected one of exclude"):
        put(cells, mlm, zeros="random")
    assert put(cells, mlm, zeros="random", genes=90).obsm[MLM].shape == plain.obsm[MLM].shape


def test_two_checkpoints_are_joined_and_the_first_predicts(cells, wced, mlm):
    both = put(cells, [wced, mlm])
    key = "X_bmfm_rna_wced_tiny+bmfm_rna_mlm_tiny"
    one, two = put(cells, wced), put(cells, mlm)
    expected = np.concatenate([one.obsm[KEY], two.obsm[MLM]], axis=1)
    np.testing.assert_array_equal(both.obsm[key], expected)
    pd.testing.assert_frame_equal(both.obs, one.obs)
    said = both.uns["jaxcell"][key]
    assert said["checkpoint_hash"] == load_model(wced).sha256
    assert said["checkpoint_2"]["checkpoint_hash"] == load_model(mlm).sha256
    swapped = put(cells, [mlm, wced]).obs
    pd.testing.assert_series_equal(swapped["age_pred"], two.obs["age_pred"])


def test_what_another_model_left_of_a_head_goes(cells, wced, mlm, tmp_path):
    """Of leaves that are not written again, and of columns that only an ontology's head has."""
    first = put(cells, wced, probabilities=True)
    first.obs["tissue_pred_id"] = "UBERON:1"
    first.write_h5ad(tmp_path / "first.h5ad")
    with pytest.warns(UserWarning, match="is removed|is replaced") as warned:
        memory = put(first, mlm)
    with pytest.warns(UserWarning, match="is removed|is replaced") as again:
        path = embed(tmp_path / "first.h5ad", mlm, out=tmp_path / "out.h5ad", progress=False)
    file = anndata.read_h5ad(path)
    gone = {"obsm['cell_type_leaves']", "obs['tissue_pred_id']"}
    for said in (warned, again):
        removed = [str(one.message) for one in said if "is removed" in str(one.message)]
        assert {one.split()[0] for one in removed} == gone
    for found in (memory, file):
        assert set(found.obsm) == {KEY, MLM}
        assert set(found.obs) == set(cells.obs) | COLUMNS
        said = found.uns["jaxcell"]["predictions"]
        assert said["cell_type"] == {"key": MLM, "checkpoint_hash": load_model(mlm).sha256}
    # And the report is of the model that predicted.
    (tmp_path / "out").mkdir()
    asked = {"truth": "cell_type", "out": tmp_path / "out", "leave_out": ["odd thing"]}
    with pytest.raises(ValueError, match=rf"another model than .* \(embedded as '{MLM}', by "):
        annotation(path, wced, **asked)
    assert list(annotation(path, mlm, **asked)["decodings"]) == ["obs['cell_type_pred_id']"]


def test_cells_without_counts_get_no_prediction(cells, wced, tmp_path):
    plain = put(cells, wced, probabilities=True)
    cells.X[[3, 20]] = 0
    cells.write_h5ad(tmp_path / "in.h5ad")
    with pytest.warns(UserWarning, match="their predictions are missing"):
        path = embed(
            *(tmp_path / "in.h5ad", wced), out=tmp_path / "out.h5ad", probabilities=True,
            batch_size=8, progress=False,
        )  # fmt: skip
    found, empty = anndata.read_h5ad(path), np.isin(np.arange(45), (3, 20))
    for name in COLUMNS:
        np.testing.assert_array_equal(found.obs[name].isna(), empty, err_msg=name)
        assert (found.obs[name][~empty] == plain.obs[name][~empty]).all(), name
    leaves = found.obsm["cell_type_leaves"]
    np.testing.assert_array_equal(np.isnan(leaves).all(axis=1), empty)
    np.testing.assert_array_equal(leaves[~empty], plain.obsm["cell_type_leaves"][~empty])
    assert np.isfinite(found.obsm[KEY]).all()


def test_metadata_that_is_not_known_is_shown_as_unknown_and_said(cells, wced, tmp_path):
    plain = put(cells, wced).obsm[KEY]
    renamed = cells.copy()
    renamed.obs["organ"] = renamed.obs["organ"].replace("gut", "liver")
    with pytest.warns(UserWarning, match=r"obs\['organ'\]: \d+ cells have no class .*\('liver'\)"):
        some = put(renamed, wced).obsm[KEY]
    blood = (cells.obs["organ"] == "blood").to_numpy()
    np.testing.assert_array_equal(some[blood], plain[blood])
    assert (np.abs(some - plain).max(axis=1) > 1e-4)[~blood].all()
    del renamed.obs["organ"]
    with pytest.warns(UserWarning, match="45 cells have no class .*no such column.* 'unknown'"):
        none = put(renamed, wced).obsm[KEY]
    np.testing.assert_array_equal(none[~blood], some[~blood])


@pytest.mark.slow
def test_unknown_metadata_is_refused_where_it_was_never_learned(cells, labelled, tmp_path):
    c = labelled_config(labelled)
    c.steps, c.train.gene_errors, c.model.metadata.organ.dropout = 1, "", 0.0
    c.labels, c.losses.cell_type.kind = ("cell_type",), "independent_sigmoids"
    c.losses.cell_type.reduce = "masked_mean"
    main.train(c, tmp_path / "run")
    found = put(cells, tmp_path / "run", probabilities=True)
    assert not np.allclose(found.obsm["cell_type_leaves"].sum(axis=1), 1, atol=0.05)
    for decode in ("greedy", 0.5):
        with pytest.raises(ValueError, match="decode: found .* expected leaf: cell_type of bmfm"):
            put(cells, tmp_path / "run", decode=decode)
    del cells.obs["organ"]
    with pytest.raises(ValueError, match=r"never learned 'unknown' \(model\.metadata\.organ\.drop"):
        put(cells, tmp_path / "run")
