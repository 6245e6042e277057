"""Errors per gene: against scikit-learn and plain loops; hidden entries alone count."""

import functools
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import jaxcell
from jaxcell import cli, sharding
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.models.cell import CellModel
from jaxcell.training import gene_errors as errors
from jaxcell.training import loop
from jaxcell.training.checkpoint import save_model
from jaxcell.training.entries import bin_of, share_of
from tests.conftest import config_of
from tests.training.test_training import tiny


def bins(predicted, null):
    return np.asarray(bin_of(share_of(predicted, null)))


def histogram(place, label):
    counts = np.zeros((2, errors.BINS), np.int64)
    np.add.at(counts, (label.astype(int), place), 1)
    return counts


def test_auc_of_bins_is_scikit_learns_and_the_bound_holds():
    random = np.random.default_rng(0)
    label = random.random((5, 400)) < np.array([0.5, 0.1, 0.02, 0.9, 0.3])[:, None]
    score = random.gamma(2, 0.2, (5, 400)) * (1 + label)
    place = bins(score, np.full((5, 400), 0.4))
    found, bound = errors.auc(np.stack([histogram(*x) for x in zip(place, label, strict=True)]))
    for i in range(5):
        assert found[i] == pytest.approx(roc_auc_score(label[i], place[i]), abs=1e-12)
        assert abs(found[i] - roc_auc_score(label[i], score[i])) <= bound[i] < 0.005
    none, _ = errors.auc(histogram(place[0], np.zeros(400)))
    assert np.isnan(none)
    coarse = histogram(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert [float(x) for x in errors.auc(coarse)] == [0.5, 0.25]  # 4 pairs, 2 of them ties


def test_bins_keep_the_order_and_are_finest_at_the_null():
    p = np.linspace(0, 12, 5000)
    place = bins(p, np.full(5000, 0.5))
    assert place[0] == 0
    assert (np.diff(place) >= 0).all()
    assert place.max() < errors.BINS
    near = bins(np.array([0.5, 0.505]), np.full(2, 0.5))
    assert near[1] > near[0]  # 1 % of the null apart
    assert bins(np.array([0.0, -1.0]), np.zeros(2)).tolist() == [0, 0]


def by_hand(c, store, variables, mean):
    """{gene: (predictions, truths, nulls)} of hidden entries, by loops over cells."""
    net, found = CellModel(c.model), {}
    apply = jax.jit(functools.partial(net.apply, train=False))
    batches = Batches(store, c, "valid", 16)
    for i in range(len(batches)):
        batch = batches[i]
        predicted = apply(variables, batch, {})[0]["heads"]["expression"]
        for b in np.flatnonzero(batch["real"]):
            counts = dict(zip(batch["panel_ids"][b], batch["panel_counts"][b], strict=True))
            shown = set(batch["ids"][b, 1 : batch["length"][b]].tolist())
            measured = store.measured[store.gene_set[batch["dataset"][b]]]
            for gene in np.flatnonzero(measured):
                if gene not in shown:
                    share = counts.get(gene, 0) / batch["total"][b]
                    truth = np.log1p(1e5 * share)
                    found.setdefault(gene, []).append((predicted[b, gene], truth, mean[gene]))
    return {gene: np.array(rows, np.float64).T for gene, rows in found.items()}


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A finished run and its workdir."""
    workdir = tmp_path_factory.mktemp("errors")
    c = tiny(store, steps=40, dtype="float32", **{"train.validate_every": 40})
    assert loop.train(c, workdir)
    return workdir


def test_a_run_leaves_the_errors_of_its_last_step(store, run):
    found = pd.read_csv(run / "gene_errors.tsv", sep="\t", keep_default_na=True)
    assert list(found.columns) == [
        *("gene", "ensembl", "n_cells", "n_detected", "auc", "auc_bound", "mae", "mae_null"),
        *("ratio", "mae_nonzero", "mean_nonzero", "null_nonzero"),
    ]
    assert tuple(found["gene"]) == store.vocabulary.names
    model = errors.load_model(run / "checkpoints" / "40")
    hand = by_hand(model.config, store, model.variables, model.tables["mean"])
    assert len(hand) == 300
    aucs = 0
    for gene, (predicted, truth, null) in hand.items():
        row = found.iloc[gene]
        assert row["n_cells"] == len(predicted)
        assert row["n_detected"] == (truth > 0).sum()
        assert row["mae"] == pytest.approx(np.abs(predicted - truth).mean(), rel=2e-5)
        assert row["mae_null"] == pytest.approx(np.abs(null - truth).mean(), rel=2e-5)
        assert row["ratio"] == pytest.approx(row["mae"] / row["mae_null"], rel=2e-5)
        if (truth > 0).any():
            there = truth[truth > 0]
            error = np.abs(predicted - truth)[truth > 0].mean()
            assert row["mae_nonzero"] == pytest.approx(error, rel=2e-5)
            assert row["mean_nonzero"] == pytest.approx(there.mean(), rel=2e-5)
            spread = np.abs(there - there.mean()).mean()
            assert row["null_nonzero"] == pytest.approx(spread, rel=2e-4, abs=2e-5)
        if 0 < (truth > 0).sum() < len(truth):
            aucs += 1
            exact = roc_auc_score(truth > 0, predicted)
            assert abs(row["auc"] - exact) <= row["auc_bound"] + 1e-6
    assert aucs > 250
    last = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["step"] == 40
    rare = np.minimum(found["n_detected"], found["n_cells"] - found["n_detected"])
    some = found[rare >= 10]
    assert last["genes/genes"] == len(some) > 20
    assert last["genes/median_auc"] == pytest.approx(some["auc"].median(), rel=1e-5)
    assert last["genes/better_than_null"] == pytest.approx((some["ratio"] < 1).mean())


@pytest.mark.slow
def test_more_passes_hide_other_genes_of_the_same_cells(store, run):
    step = run / "checkpoints" / "40"
    once = errors.gene_errors(step, store)
    thrice, parts = (errors.gene_errors(step, store, draws=3, batch_size=b) for b in (64, 7))
    for column in ("n_cells", "n_detected"):
        np.testing.assert_array_equal(thrice[column], parts[column])
    np.testing.assert_allclose(thrice["mae"], parts["mae"], rtol=1e-5)
    assert thrice["n_cells"].sum() == 3 * once["n_cells"].sum()
    assert (thrice["n_cells"] != 3 * once["n_cells"]).mean() > 0.5
    few = errors.gene_errors(step, store, genes=8)
    assert few["n_cells"].sum() > once["n_cells"].sum()  # of 32 shown, more are hidden now
    with pytest.raises(ValueError, match="every cell shows all of its genes"):
        errors.gene_errors(step, store, genes="all")
    with pytest.raises(ValueError, match="draws: found 0, expected a number above 0"):
        errors.gene_errors(step, store, draws=0)


def test_the_verb_gives_what_the_run_wrote(store, run, tmp_path, capsys):
    out = tmp_path / "errors.tsv"
    step = run / "checkpoints" / "40"
    cli.main(["gene-errors", str(store.path), str(out), "--checkpoint", str(step),
              "--batch-size", "7"])  # fmt: skip
    assert "median detection AUC 0." in capsys.readouterr().out
    one, two = (pd.read_csv(f, sep="\t") for f in (out, run / "gene_errors.tsv"))
    for column in ("n_cells", "n_detected"):
        np.testing.assert_array_equal(one[column], two[column])
    np.testing.assert_allclose(one["mae"], two["mae"], rtol=2e-5)
    apart = (one["auc"] - two["auc"]).abs()
    assert not (apart > one["auc_bound"] + two["auc_bound"] + 1e-6).any()
    with pytest.raises(ValueError, match=r"errors\.tsv: exists already"):
        jaxcell.gene_errors(step, store, out)


def test_a_run_killed_behind_its_last_step_writes_what_is_missing(store, run, tmp_path, capsys):
    c = tiny(store, steps=40, dtype="float32", **{"train.validate_every": 40})
    workdir, seen = shutil.copytree(run, tmp_path / "run"), []
    (workdir / "gene_errors.tsv").unlink()
    (workdir / "curves.png").unlink()
    assert loop.train(c, workdir, seen.append)
    assert "step 40 already, writes gene_errors.tsv, curves.png" in capsys.readouterr().out
    assert (workdir / "gene_errors.tsv").read_text() == (run / "gene_errors.tsv").read_text()
    assert (workdir / "curves.png").exists()
    sessions = [json.loads((d / "run.json").read_text())["sessions"] for d in (run, workdir)]
    assert sessions[0] == sessions[1]
    assert loop.train(c, workdir, seen.append)
    assert "step 40 already, skipped" in capsys.readouterr().out
    assert seen == []


@pytest.mark.slow
def test_a_process_other_than_the_first_leaves_the_shared_files_alone(store, tmp_path):
    one = loop.Run(tiny(store, steps=1, **{"train.tensorboard": True}), tmp_path)
    one.first = False
    assert one.go()
    assert {"checkpoints", "run.json", "metrics.jsonl"} <= {p.name for p in tmp_path.iterdir()}
    for name in ("model", "gene_errors.tsv", "curves.png", "tensorboard"):
        assert not (tmp_path / name).exists()


def test_a_store_other_than_the_one_trained_on_is_said(store, sources, run, tmp_path, capsys):
    said = "is another store than the one that"
    for checkpoint in (run, run / "checkpoints" / "40"):
        errors.gene_errors(checkpoint, store)
        assert said not in capsys.readouterr().out
    other = prepare(tmp_path / "other", sources, hold_out_fraction=0.4, progress=False)
    capsys.readouterr()
    errors.gene_errors(run / "checkpoints" / "40", other)
    assert f"{other.path} {said} {run}" in capsys.readouterr().out


def test_a_temperature_draws_by_the_checkpoints_table(store, run, tmp_path):
    model = errors.load_model(run)
    number = 64
    model.config.data.sample_genes.update({"number": number, "temperature": 8.0})
    often = slice(100, 100 + number)  # measured by both datasets: these are always shown
    model.tables["detected"] = np.ones(384, np.float32)
    model.tables["detected"][often] = 1e6
    save_model(tmp_path, model)
    found = errors.gene_errors(tmp_path, store)
    assert (found["n_cells"][often] == 0).all()
    assert (found["n_cells"].drop(range(100, 100 + number)) > 0).all()
    del model.tables["detected"], model.tables["mean"]
    save_model(tmp_path, model)
    with pytest.raises(ValueError, match=r"tables\.npz has no mean and no detected, which"):
        errors.gene_errors(tmp_path, store)


def test_eight_devices_measure_what_one_does(store, run):
    model = errors.load_model(run)
    net = CellModel(model.config.model)
    tables = {**loop.tables_of(store, model.config, net.rows)}
    found = []
    for axes in ((1, 1, 1), (2, 2, 2)):
        mesh = sharding.make_mesh(
            dict(zip(sharding.AXES, axes, strict=True)), jax.devices()[: int(np.prod(axes))]
        )
        placed = jax.device_put((model.variables, tables), sharding.replicated(mesh))
        batches = Batches(store, model.config, "valid", 16)
        found.append(errors.Measure(net, model.config, mesh)(batches, *placed, store.vocabulary))
    for column in ("n_cells", "n_detected"):
        np.testing.assert_array_equal(found[0][column], found[1][column])
    np.testing.assert_allclose(found[0]["mae"], found[1]["mae"], rtol=1e-5)


def test_what_cannot_be_measured_is_refused(store, sources, run, tmp_path):
    with pytest.raises(ValueError, match="batch_size: found 0, expected a number above 0"):
        jaxcell.gene_errors(run, store, batch_size=0)
    few = prepare(tmp_path / "few", sources[1:], hold_out_fraction=0.2, progress=False)
    with pytest.raises(ValueError, match="few: its genes are not those of"):
        jaxcell.gene_errors(run, few)
    whole = prepare(tmp_path / "whole", sources, progress=False)
    with pytest.raises(ValueError, match="whole: holds no validation cells"):
        jaxcell.gene_errors(run, whole)
    with pytest.raises(ValueError, match=r"train\.gene_errors: 'heads\.expr' has no 'expr'"):
        loop.check(tiny(store, **{"train.gene_errors": "heads.expr"}))
    with pytest.raises(ValueError, match=r"train\.gene_errors: 'cell' has \(1, 32\) for a cell"):
        loop.check(tiny(store, **{"train.gene_errors": "cell"}))
    c = config_of("bmfm_rna_mlm:tiny")
    c.train.gene_among = "hidden"
    with pytest.raises(ValueError, match=r"expected one value for each gene, as train\.gene_among"):
        loop.check(c)


@pytest.mark.slow
def test_nothing_hidden_is_said(store, tmp_path, capsys):
    c = tiny(store, steps=1, **{"data.sample_genes.number": 300})
    assert loop.train(c, tmp_path)
    said = capsys.readouterr()
    assert "no gene has 10 hidden entries" in said.out + said.err
    assert (pd.read_csv(tmp_path / "gene_errors.tsv", sep="\t")["n_cells"] == 0).all()
    with pytest.raises(ValueError, match="every cell shows all of its genes"):
        jaxcell.gene_errors(tmp_path, store)
