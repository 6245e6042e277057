"""The best step by AvgBIO of held-out cells: what evaluation finds for the same cells."""

import json

import anndata
import numpy as np
import pytest

import jaxcell
from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.evaluation import clustering
from jaxcell.monitor import AvgBio
from jaxcell.training import loop
from jaxcell.training.checkpoint import load_model
from tests.training.test_training import tiny

BEST = {"best": ("val/avg_bio", "max"), "evaluate.label": "kind"}


@pytest.mark.slow
def test_model_keeps_the_step_of_the_best_avg_bio(store, sources, tmp_path):
    c = tiny(store, steps=8, **BEST, **{"train.validate_every": 2, "train.keep_every": 2})
    workdir = jaxcell.train(c, tmp_path / "run")
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    seen = {line["step"]: line["val/avg_bio"] for line in lines if "val/avg_bio" in line}
    assert list(seen) == [2, 4, 6, 8]
    model = load_model(workdir)
    kept = int(model.info["step"])
    assert seen[kept] == max(seen.values())
    assert float(model.info["val/avg_bio"]) == pytest.approx(seen[kept])

    # The same cells through embed: what the journal has is what evaluate would say.
    held = store.read("valid", np.arange(store.sizes["valid"]))
    dense = np.zeros((len(held), len(store.vocabulary)), np.float32)
    rows = np.repeat(np.arange(len(held)), np.diff(held.indptr))
    dense[rows, held.ids] = held.counts
    vectors = np.empty((len(held), 32), np.float32)
    for dataset in (0, 1):
        mine = held.dataset == dataset
        measured = store.measured[store.gene_set[dataset]]
        names = np.array(store.vocabulary.symbols)[measured]
        cells = anndata.AnnData(dense[mine][:, measured])
        cells.var_names = names
        step = workdir / "checkpoints" / "4"
        vectors[mine] = jaxcell.embed(cells, step, key="X", progress=False).obsm["X"]
    labels = np.array(store.labels["kind"])[held.labels[:, 0]]
    space = clustering.Space(vectors)
    best, _ = clustering.best_clustering(space.clusterings("leiden", 0), labels)
    expected = (best["nmi"] + best["ari"] + clustering.asw_label(vectors, labels)) / 3
    assert seen[4] == pytest.approx(expected, abs=1e-4)


def test_what_avg_bio_needs_is_asked_for_first(store, tmp_path):
    with pytest.raises(ValueError, match=r"config.evaluate.label: found 'nope', .* it has kind"):
        jaxcell.train(tiny(store, **{**BEST, "evaluate.label": "nope"}), tmp_path / "run")
    with pytest.raises(ValueError, match="'val/avg_bio' is for jaxcell.train"):
        loop.train(tiny(store, **BEST), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cells_of_unknown_label_do_not_count(sources, tmp_path):
    files = [anndata.read_h5ad(path) for path in sources]
    for cells in files:
        cells.obs["kind"] = cells.obs["kind"].astype(str).replace("kind 0", "unknown")
    options = {"labels": ("kind",), "hold_out_fraction": 0.3, "progress": False}
    store = prepare(tmp_path / "store", files, **options)
    assert store.labels["kind"] == ["kind 1", "kind 2"]
    assert set(AvgBio(tiny(store, **BEST))._labels) == {"kind 1", "kind 2"}


def test_what_the_best_step_is_chosen_by_may_not_change(store):
    chosen, other = tiny(store, **BEST), tiny(store, **{**BEST, "evaluate.label": "batch"})
    assert config.differences(chosen, other) == ["evaluate.label: 'kind' there, 'batch' here"]
    for c in (chosen, other):
        c.best = ("val/loss", "min")
    assert config.differences(chosen, other) == []
