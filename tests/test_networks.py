"""``jaxcell network``: cells through a model by condition, its folder, what it refuses."""

import json

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import jaxcell
from jaxcell import cli
from jaxcell.attention_maps import Attention, check_attention, condition_maps, show_chosen
from jaxcell.data.genes import identify
from jaxcell.data.matching import match
from jaxcell.data.sources import open_source
from jaxcell.embedder import Embedder
from jaxcell.evaluation.networks.planted import planted_names
from jaxcell.evaluation.networks.study import Study
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import load_model
from tests.conftest import config_of


@pytest.fixture
def planted(planted_network):
    return planted_network


def maps_of(folder, batch_size, names=None, measure="ranks", layer=None):
    model = load_model(folder / "run0")
    show_chosen(model.config)
    source = open_source(folder / "cells.h5ad", chunk_cells=batch_size)
    found = match(identify(source.var), model.vocabulary, None, "error", source.name)
    embedder = Embedder(model, source, found, 0, "")
    place = {gene: i for i, gene in enumerate(source.var.index if names is None else names)}
    columns = [list(source.var.index).index(gene) for gene in place]
    ids = found.columns[columns].astype(np.int32)
    embedder.gene_sets = [np.sort(ids)]
    run = Attention(model.config, ids, layer, model.tables)
    codes = np.where(np.arange(80) < 30, np.arange(80) % 2, -1)
    maps, received, cells = condition_maps(embedder, run, source.chunks(), codes, 2, measure)
    assert cells.tolist() == [15, 15]
    return maps, received


GENES = ["T3_1", *[f"TF{i}" for i in range(6)], *[f"T0_{i}" for i in range(8)], "O2", "T5_0"]


def test_maps_equal_a_loop_over_cells_of_the_models_own_attention(planted):
    maps, received = maps_of(planted, 7, GENES)
    model = load_model(planted / "run0")
    c, adata = model.config, anndata.read_h5ad(planted / "cells.h5ad")
    show_chosen(c)
    source = open_source(adata, chunk_cells=80)
    found = match(identify(source.var), model.vocabulary, None, "error", "AnnData")
    embedder = Embedder(model, source, found, 0, "")
    ids = np.array([model.vocabulary.index(g) for g in GENES])
    embedder.gene_sets = [np.sort(ids).astype(np.int32)]
    (chunk,) = source.chunks()
    batch = embedder.tokens(*embedder.cells(chunk))
    total, weight = np.zeros((2, len(ids), len(ids))), np.zeros((2, len(ids)))
    net = CellModel(c.model)

    @jax.jit
    def attend(one):
        tables = {"vectors": {}, "known": {}}
        return net.apply(model.variables, one, tables, train=False, attention=True)[0]["attention"]

    for b in range(30):
        one = jax.tree.map(lambda a, b=b: a[b : b + 1], batch)
        one["ids"], one["values"] = (one[k][:, : one["length"][0]] for k in ("ids", "values"))
        at = [one["ids"][0].tolist().index(i) for i in ids]
        attention = np.asarray(attend(one))[0][:, at][:, :, at]
        rows = (stats.rankdata(attention, axis=2) - 1) / len(ids)
        total[b % 2] += ((stats.rankdata(rows, axis=1) - 1) / len(ids)).mean(axis=0)
        mean = attention.mean(axis=0)
        weight[b % 2] += mean.sum(axis=0) - np.diagonal(mean)
    # A rank may flip where two weights are equal to rounding.
    assert np.abs(maps - total / 15).max() < 0.02
    assert np.abs(maps - total / 15).mean() < 1e-3
    np.testing.assert_allclose(received, weight / 15, rtol=1e-4)


def test_maps_do_not_depend_on_how_many_cells_are_read_at_a_time(planted):
    one, received = maps_of(planted, 3)
    other, also = maps_of(planted, 80)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(received, also)


def test_a_layer_and_weights_can_be_asked_for(planted):
    last = maps_of(planted, 80, measure="weights")[0]
    np.testing.assert_array_equal(maps_of(planted, 80, measure="weights", layer=2)[0], last)
    assert np.abs(maps_of(planted, 80, measure="weights", layer=1)[0] - last).max() > 1e-4
    assert (last.sum(axis=2) < 1).all()  # the rest goes to <cls>


def test_the_command_writes_the_whole_folder_and_resumes(planted, tmp_path, capsys):
    out = tmp_path / "net"
    asked = [
        "network", str(planted / "cells.h5ad"), "--checkpoint", str(planted / "run0"),
        str(planted / "run1"), "--condition", "state", "--known", str(planted / "known.tsv"),
        "--sets", str(planted / "sets.gmt"), "--resolution", "1", "--cells", "10", "--label",
        "state", "--tf", "TF0", "TF4", "--out", str(out),
    ]  # fmt: skip
    cli.main(asked)
    assert "co-expression" in capsys.readouterr().out
    first = (out / "results.json").read_text()
    results = json.loads(first)
    assert results["attention"]["cells"] == {"control": 10, "severed": 10}
    assert results["known"]["pairs"] == 48
    assert results["attention"]["stability"]["control"]["models"] == 2
    assert results["meta"]["sources"] == ["TF0", "TF4"]
    table = pd.read_csv(out / "edges.tsv", sep="\t")
    assert set(table["condition"]) == {"control", "severed", "severed − control"}
    assert set(table["source"]) == {"TF0", "TF4"}
    among = results["attention"]["factors_among_regulators"]["severed − control"]
    assert (among["factors"], 0 < among["auroc"] < 1) == (6, True)
    assert results["attention"]["behind_regulators"]["tests"] == 3 * 6
    scored = {row["condition"] for row in results["known"]["results"]}
    assert "severed − control" in scored
    for file in results["meta"]["figures"]:
        assert (out / file).stat().st_size > 1000
    cells = anndata.read_h5ad(out / "cells.h5ad")
    scores = cells.obsm["X_programs"]
    assert scores.shape == (80, len(results["vectors"]["programs"]))
    assert (~np.isnan(scores[:, 0])).sum() == 20
    assert len(cells.uns["jaxcell"]["X_programs"]["programs"]) == scores.shape[1]
    kept = sorted((out / "attention").iterdir())
    when = [file.stat().st_mtime_ns for file in kept]
    assert len(kept) == 2
    cli.main(asked)
    assert (out / "results.json").read_text() == first
    assert [file.stat().st_mtime_ns for file in kept] == when
    assert not list(tmp_path.glob("*.partial"))
    asked[1] = str(out / "cells.h5ad")  # its own output would go before it is read again
    with pytest.raises(SystemExit, match="network writes this file itself"):
        cli.main(asked)
    assert (out / "cells.h5ad").exists()


def test_factors_with_known_targets_are_the_sources_where_nobody_names_any():
    factors, genes, pairs = planted_names()
    known = {f: {b for a, b in pairs if a == f} for f in factors}
    known["TF3"] = set(sorted(known["TF3"])[:4])  # one too few
    study = Study(genes, [], None, None, ["a", "b"], "a", known=known)
    study.settle()
    assert study.sources == ["TF0", "TF1", "TF2", "TF4", "TF5"]
    study = Study(genes, [], None, None, ["a", "b"], "a")
    study.settle({"run0": np.stack([np.arange(60.0), np.zeros(60)])})
    assert study.sources == genes[:-11:-1]


def test_gene_vectors_of_a_file_need_no_checkpoint(planted, tmp_path):
    genes = jaxcell.genes(planted / "run0")
    genes.obsm["mine"] = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    genes.write_h5ad(tmp_path / "genes.h5ad")
    adata = anndata.read_h5ad(planted / "cells.h5ad")
    found = jaxcell.network(
        adata, condition="state", route="vectors", vectors=f"{tmp_path / 'genes.h5ad'}:mine",
        resolution=1.0, out=tmp_path / "net", progress=False,
    )  # fmt: skip
    assert found["vectors"]["dimensions"] == 8
    assert adata.obsm["X_programs"].shape == (80, len(found["vectors"]["programs"]))
    assert not (tmp_path / "net" / "attention").exists()


REFUSED = {
    "condition": (dict(condition="dose"), "condition: .* has no obs column 'dose'"),
    "tf": (dict(tf=["tf0"]), "tf: .* has no gene 'tf0'; it has TF0"),
    "reference": (dict(reference="x"), "reference: found 'x', expected one of control, severed"),
    "route": (dict(route="none"), "route: found 'none'"),
    "layer": (dict(layer=3), "layer: found 3, expected 1 to 2"),
    "label": (dict(label="type"), "label: .* has no obs column 'type'"),
    "genes": (dict(genes=["TF0", "TF1"]), "genes: found 2 .* expected 20"),
    "vectors": (dict(vectors="decoder", route="vectors"), "vectors: .* has codebook, not 'dec"),
    "twice": (dict(twice=True), "checkpoint: found .*, expected each once"),
    "known": (dict(known="nowhere.tsv"), "nowhere.tsv: no such file"),
    "file": (dict(vectors="nowhere.h5ad"), "nowhere.h5ad: no such file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(name, planted, tmp_path):
    asked, message = REFUSED[name]
    asked = {"condition": "state", "out": tmp_path / "net", "progress": False, **asked}
    runs = [planted / "run0"] * 2 if asked.pop("twice", False) else planted / "run0"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        jaxcell.network(planted / "cells.h5ad", runs, **asked)
    assert not list(tmp_path.iterdir())


def test_models_without_weights_between_all_genes_are_refused():
    with pytest.raises(ValueError, match="run: the encoder is causal"):
        check_attention(config_of("bioformers_decoder:tiny"), None, "run")
    c = config_of("bioformers_encoder:tiny")
    c.model.encoder.attention = "performer"
    with pytest.raises(ValueError, match=r"attention is 'performer', expected 'exact'"):
        check_attention(c, None, "run")
