"""The suites of scFormer and BioFormers: their arms as data, and a tiny run of each."""

import json

import anndata
import numpy as np
import pytest

from jaxcell import cli, config
from jaxcell.ablations import arms, bioformers, integration_bench, masked_bench, scformer
from jaxcell.ablations.arms import Budget, arms_of, base, config_of
from jaxcell.ablations.cells import thinned
from jaxcell.ablations.integration_bench import IntegrationCells
from jaxcell.ablations.runner import experiment_of
from jaxcell.ablations.suites import suite
from jaxcell.data.prepare import prepare
from jaxcell.training import setup
from jaxcell.variants import tiny
from tests.conftest import draw_cells

SUITES = {"scformer": scformer, "bioformers": bioformers}


def batches(cells=80):
    """Cells of three kinds in two batches."""
    found = draw_cells(3, cells, 60)
    found.obs["batch"] = np.array(["first", "second"])[np.arange(cells) % 2]
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    out = tmp_path_factory.mktemp("suites") / "store"
    how = dict(labels=["kind", "batch"], hold_out_fraction=0.1, progress=False)
    return prepare(out, [batches()], **how)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The cells in two files, and half of the genes of the second alone in a third."""
    folder = tmp_path_factory.mktemp("files")
    cells = batches()
    for name, part in (("one", cells[::2]), ("two", cells[1::2]), ("few", cells[1::2, ::2])):
        part = part.copy()
        part.obs["lane"] = part.obs["batch"]  # a name that the configs do not have
        part.write_h5ad(folder / f"{name}.h5ad")
    return folder


def small(name):
    """The suite's small budget, for seconds."""
    make = base(suite(name).budget("small"))

    def change(c):
        c = tiny(make.copy_and_resolve_references())
        c.train.validate_every = 0
        return c

    return Budget(change, seeds=2, cells=60, genes=40)


@pytest.mark.parametrize("name", SUITES)
def test_every_arm_is_a_config_that_holds_and_differs(name, store, monkeypatch):
    monkeypatch.setattr(setup, "check", config.check)  # each is traced where it is run
    kind, budget = suite(name), small(name)
    chosen = arms_of(kind.blocks(base(budget)))
    fields = {}
    for one, arm in chosen.items():
        c = config.settled(config_of(kind, arm, budget, store))
        config.check(c)
        assert c.data.sequence.number == 60
        assert c.steps == 40
        fields[one] = {k: v for k, v in config.training_fields(c).items() if k != "name"}
    assert next(iter(chosen)) == "default"
    same = [one for one, arm in chosen.items() if fields[one] == fields["default"]]
    assert same == ["default", *(["other_data"] if name == "bioformers" else [])]


def test_arms_of_scformer_leave_out_what_they_say(store, monkeypatch):
    monkeypatch.setattr(setup, "check", config.check)
    kind, budget = suite("scformer"), small("scformer")
    chosen = arms_of(kind.blocks(base(budget)))
    made = {n: config.settled(config_of(kind, a, budget, store)) for n, a in chosen.items()}
    assert len(made) == 9
    heads = {name: sorted(c.model.heads) for name, c in made.items()}
    assert heads["default"] == ["dar", "mgm", "mvc"]
    assert heads["no_mgm"] == ["dar", "mvc"]
    assert heads["no_mvc"] == ["dar", "mgm"]
    assert heads["no_mgm_mvc"] == ["dar"]
    assert heads["no_dar"] == ["mgm", "mvc"]
    losses = {name: set(c.losses) for name, c in made.items()}
    assert losses["no_mgm_mvc"] == {"dar", "ecs"}
    assert losses["default"] - losses["no_ecs"] == {"ecs"}
    assert losses["default"] - losses["no_mgm"] == {"mgm", "mgm_zero", "mgm_at_means"}
    assert made["no_mgm"].best == ("val/mvc", "min")
    assert made["no_mgm_mvc"].best == ("val/ecs", "min")
    assert "draw_masks" not in made["no_mgm_mvc"].data.transforms
    assert "draw_masks" in made["no_mgm"].data.transforms
    assert [made[n].model.norm for n in ("default", "no_dsbn")] == ["domain", "batch"]
    ratios = [made[n].data.draw_masks.ratio for n in ("mask15", "default", "mask75")]
    assert ratios == [0.15, 0.4, 0.75]


@pytest.mark.parametrize("name", SUITES)
def test_the_large_budget_is_the_papers_size(name):
    sizes = {"scformer": (128, 4, 4, 30, 1200, 5), "bioformers": (512, 8, 8, 10, 2000, 1)}
    budget = suite(name).budget("large")
    c = base(budget)
    e = c.model.encoder
    found = (c.model.width, e.layers, e.heads, c.epochs, budget.genes, budget.seeds)
    assert (found, budget.cells) == (sizes[name], 0)


def test_masks_of_bioformers_are_the_papers():
    c = base(suite("bioformers").budget("small"))
    chosen = arms_of(bioformers.blocks(c)).values()
    found = {
        (
            arm.fields.get("data.draw_masks.ratio", c.data.draw_masks.ratio),
            arm.fields.get("data.draw_masks.nonzero", c.data.draw_masks.nonzero),
            arm.variants,
        )
        for arm in chosen
    }
    pairs = {(0.1, 0.5), (0.05, 0.5), (0.025, 0.5), (0.1, 0.75), (0.1, 0.25)}
    assert found == {(*pair, "") for pair in pairs} | {(0.1, 0.5, "normalised")}
    assert (c.data.bin.b, c.data.bin.c) == (3.0, 8)


def test_thinning_takes_the_same_share_of_each_stratum():
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    kept = thinned(strata, 50)
    assert len(kept) == 50
    assert (np.diff(kept) > 0).all()
    assert np.unique(np.array(strata)[kept], return_counts=True)[1].tolist() == [30, 15, 5]
    assert thinned(strata, 50).tolist() == kept.tolist()
    assert thinned(strata, 50, seed=1).tolist() != kept.tolist()
    assert thinned(strata, 0).tolist() == list(range(100))
    assert thinned(strata, 200).tolist() == list(range(100))


def test_cells_of_several_files_have_the_genes_of_all(files):
    e = IntegrationCells(
        train=(files / "one.h5ad", files / "few.h5ad"), label="kind", batch="batch"
    )
    cells = e.read(0)
    assert cells.shape == (80, 30)
    assert cells.obs_names.is_unique
    parts = [anndata.read_h5ad(files / f"{name}.h5ad") for name in ("one", "few")]
    shared = masked_bench.shared_genes(parts)
    assert sorted(shared.names) == sorted(parts[1].var_names)
    with pytest.raises(ValueError, match=r"batch: found \['a', 'b'\], expected one obs column"):
        IntegrationCells(train=(), label="kind", batch=("a", "b"))


def test_data_of_ones_own(files):
    found = experiment_of("scformer", train=["a"], label="kind", batch=["batch"], per_batch=False)
    assert found == IntegrationCells(train=("a",), label="kind", batch="batch")
    with pytest.raises(ValueError, match="--train given: name --label, --batch too"):
        experiment_of("scformer", train=["a"])
    with pytest.raises(ValueError, match="--train given: name --other too"):
        experiment_of("bioformers", train=["a"])
    one = {"train": (files / "one.h5ad",), "label": "kind"}
    with pytest.raises(FileNotFoundError, match="absent.h5ad: no such file"):
        IntegrationCells(**{**one, "train": (files / "absent.h5ad",)}, batch="batch").check()
    with pytest.raises(ValueError, match=r"obs\['batch'\]: found one batch, expected two"):
        integration_bench.IntegrationBench(
            IntegrationCells(**one, batch="batch"), files, Budget(tiny)
        )


def run(name, options, out, monkeypatch):
    """The suite's command on a budget of seconds; what it has left in out."""
    monkeypatch.setitem(SUITES[name].BUDGETS, "small", small(name))
    cli.main(["ablate", "--suite", name, "--steps", "3", *map(str, options), "--out", str(out)])
    return json.loads((out / "results.json").read_text()), (out / "report.md").read_text()


@pytest.mark.slow
def test_integration_end_to_end(files, tmp_path, monkeypatch, capsys):
    def absent(names, batch):
        if "scvi" in names:
            raise ImportError(
                'baseline scvi needs scvi, not installed: pip install "jaxcell[scvi]"'
            )

    monkeypatch.setattr(integration_bench.integration, "check", absent)
    options = ["--train", files / "one.h5ad", files / "two.h5ad", "--label", "kind"]
    options += ["--batch", "lane", "--arms", "no_mgm_mvc"]
    results, page = run("scformer", options, tmp_path / "out", monkeypatch)
    assert list(results["arms"]) == ["default", "no_mgm_mvc"]
    for arm in results["arms"].values():
        assert [0 <= one["scores"]["overall"] <= 1 for one in arm["runs"]] == [True, True]
        first, second = arm["runs"]
        assert first["scores"] != second["scores"]
    assert results["meta"]["cells"] == 60
    assert results["meta"]["genes"] == 40
    assert list(results["references"]["rows"]) == ["HVG counts", "PCA", "Harmony"]
    assert "| w/o MGM, MVC |" in page
    assert 'pip install "jaxcell[scvi]"' in page
    assert "w/o DAR" not in page
    capsys.readouterr()
    again, _ = run("scformer", options, tmp_path / "out", monkeypatch)
    assert capsys.readouterr().out.count("(finished before)") == 4
    assert again == results


@pytest.mark.slow
def test_masked_genes_end_to_end(files, tmp_path, monkeypatch):
    monkeypatch.setattr(masked_bench, "VALIDATION", 0.3)
    options = ["--train", files / "one.h5ad", "--other", files / "two.h5ad", files / "few.h5ad"]
    options += ["--arms", "normalised", "other_data", "--seeds", "1"]
    results, page = run("bioformers", options, tmp_path / "out", monkeypatch)
    assert results["meta"]["genes"] == {"": 40, "other": 30}
    (default,), (scaled,), (other,) = (results["arms"][n]["runs"] for n in results["arms"])
    assert default["scores"]["n_entries"] == scaled["scores"]["n_entries"]
    assert default["regression"] != scaled["regression"] != other["regression"]
    for table in ("Table 2", "Table 3", "Table 4"):
        assert f"| {table}" in page
    assert "m 0.05" not in page
    assert arms.DEFAULT in page
