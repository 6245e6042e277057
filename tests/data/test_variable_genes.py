"""Highly variable genes at prepare time, beside scanpy and a dense computation."""

import json
import re
import sys

import anndata
import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from jaxcell.config_checks import HVG
from jaxcell.data import prepare as module
from jaxcell.data import variable_genes
from jaxcell.data.preparing import order
from jaxcell.data.store import Store
from jaxcell.data.variable_genes import from_store
from tests.data.conftest import cells

N = 60


def various(n_cells=150, n_genes=400, seed=0):
    """Counts of genes that differ in mean and dispersion, some without any count; f32."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng(99)  # of the genes, the same in every file
    mean, shape = own.lognormal(-1, 1.5, n_genes), own.gamma(2, 0.5, n_genes) + 0.1
    depth = rng.lognormal(0, 0.3, (n_cells, 1))
    program = rng.integers(0, 4, (n_cells, 1)) == np.arange(n_genes) % 4
    strength = own.choice([1.0, 4.0], n_genes, p=[0.8, 0.2])
    rate = mean * depth * np.where(program, strength, 1)
    return rng.poisson(rng.gamma(shape, rate / shape)).astype(np.float32)


def adata(seed=0, genes=slice(None), **kwargs):
    matrix = various(seed=seed, **kwargs)
    symbols = np.array([f"G{i * 7919 % 997}" for i in range(matrix.shape[1])])  # unsorted
    made = cells(sp.csr_matrix(matrix[:, genes]), symbols=symbols[genes])
    made.obs_names = [f"{seed}-{name}" for name in made.obs_names]
    return made


def by_scanpy(together, flavor, key, number=N):
    """Names of the genes that scanpy chooses from raw counts, in float64."""
    together = together.copy()
    together.X = together.X.astype(np.float64)
    if flavor != "seurat_v3":
        scanpy.pp.normalize_total(together, target_sum=1e4)
        scanpy.pp.log1p(together)
    table = scanpy.pp.highly_variable_genes(
        together, n_top_genes=number, flavor=flavor, batch_key=key, inplace=False
    )
    table.index = together.var_names  # seurat_v3 keeps it, the others of one batch do not
    return set(table.index[table["highly_variable"]])


def chosen(store):
    return set(store.vocabulary.symbols)


@pytest.fixture
def many(tmp_path):
    """Function: files, options → a store of its own."""
    made = []

    def run(files, **options):
        made.append(tmp_path / f"store{len(made)}")
        return module.prepare(made[-1], files, **{"progress": False, "hvg": N} | options)

    return run


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger", "seurat_v3"])
def test_scanpys_flavours_choose_scanpys_genes(many, flavor):
    files = [adata(seed) for seed in range(3)]
    together = anndata.concat(files, label="file")
    one = many(files[0], hvg_flavor=flavor)
    assert len(one.vocabulary) == N
    assert chosen(one) == by_scanpy(files[0], flavor, None)
    by_file = many(files, hvg_flavor=flavor)
    assert chosen(by_file) == by_scanpy(together, flavor, "file")
    by_column = many(files, hvg_flavor=flavor, hvg_batch="batch")
    assert chosen(by_column) == by_scanpy(together, flavor, "batch")
    assert len({frozenset(chosen(s)) for s in (one, by_file, by_column)}) == 3


@pytest.mark.parametrize("flavor", HVG)
def test_held_out_cells_filters_and_chunks(many, monkeypatch, flavor):
    files = [adata(seed) for seed in range(2)]
    fewest = int(np.quantile(np.diff(files[0].X.indptr), 0.1))
    options = {"hvg_flavor": flavor, "min_genes": fewest, "min_cells": 3, "hold_out": "batch=a"}
    whole = many(files, **options)
    training = []
    for file in files:
        enough = np.diff(file.X.indptr) >= fewest
        assert not enough.all()
        counted = np.asarray((file.X[enough] > 0).sum(axis=0)).ravel() >= 3
        training.append(file[enough & (file.obs["batch"] != "a").to_numpy(), counted].copy())
    expected = many(training, hvg_flavor=flavor)
    assert chosen(whole) == chosen(expected)
    assert whole.sizes["train"] == expected.sizes["train"] < 200
    # The held-out cells could hold anything, and a file of them is no batch.
    for file in files:
        held = np.repeat((file.obs["batch"] == "a").to_numpy(), np.diff(file.X.indptr))
        file.X.data[held] = np.random.default_rng(0).permutation(file.X.data[held])
    assert chosen(many(files, **options)) == chosen(whole)
    assert chosen(many(files, **options, hold_out_file=adata(7))) == chosen(whole)
    opened = order.open_source
    small = lambda spec, counts: opened(spec, counts=counts, chunk_cells=17)
    monkeypatch.setattr(order, "open_source", small)
    assert chosen(many(files, **options)) == chosen(whole)


def test_a_store_of_the_chosen_genes_is_otherwise_as_before(many, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    files = [adata(seed) for seed in range(2)]
    everything = many(files, hvg=None)
    capsys.readouterr()
    store = many(files, hvg_flavor="cell_ranger", hvg_batch="batch", progress=True)
    out, err = capsys.readouterr()
    assert err.count("choosing genes: 100%") == 1
    assert "not chosen: genes beyond the 60 most variable of the training cells (--hvg)" in out
    assert "flavour cell_ranger, batches by batch" in out
    facts = store.datasets[0]
    assert (facts["measured"], facts["not_chosen"]) == (60, 340)
    assert re.search(r"AnnData 1 .* 340 +60 +X, integer", out)
    assert "not chosen" not in everything.table()
    options = json.loads((store.path / "store.json").read_text())["options"]
    assert (options["hvg"], options["hvg_flavor"]) == (60, "cell_ranger")
    assert options["hvg_batch"] == "batch"
    where = [everything.vocabulary.index(name) for name in store.vocabulary.symbols]
    assert where == sorted(where)  # in the order of all genes
    for name in ("sum", "nonzero", "share_source"):
        np.testing.assert_array_equal(store.stats[name], everything.stats[name][:, where])
    for column in ("total", "dataset"):
        np.testing.assert_array_equal(
            store.index("train", column), everything.index("train", column)
        )


def naive_bioformer(matrices, present, number):
    """The same from dense matrices with zeros for what a dataset lacks."""
    x = np.concatenate(matrices).astype(np.float64)
    among = present.sum(axis=0) >= int(0.9 * len(present))
    mean = x.mean(axis=0)
    among = np.flatnonzero(among & (mean > 0))
    variance = np.clip((x**2).mean(axis=0) - mean**2, 1e-10, None)[among]
    fit = np.polynomial.Polynomial.fit(np.log1p(mean[among]), np.log1p(variance), 2)
    score = np.log1p(variance) - fit(np.log1p(mean[among]))
    return set(among[np.argsort(score)[-number:]])


def test_bioformers_genes(many):
    files, matrices, present = [], [], np.ones((11, 400), bool)
    present[0, :40] = present[1, 20:60] = False  # genes 20–39 are in 9 of 11, others in 10
    present[2, 30:40] = False  # genes 30–39 in 8: int(0.9 · 11) is 9
    for seed in range(11):
        files.append(adata(seed, present[seed], n_cells=30))
        matrices.append(various(30, seed=seed) * present[seed])
    store = many(files, hvg_flavor="bioformer")
    names = adata(0, n_cells=30).var_names
    expected = naive_bioformer(matrices, present, N)
    assert chosen(store) == set(names[sorted(expected)])
    everywhere = naive_bioformer(matrices, np.ones_like(present), N)
    assert expected & set(range(30))
    assert everywhere & set(range(30, 40))  # what the share of datasets keeps out
    assert "flavour bioformer, over all cells, of genes measured in 9 of 10" in store.table()
    held = {"hvg": None, "hold_out": "type=T", "hold_out_file": adata(20)}
    full = many(files, **held)
    mask = from_store(Store.open(full.path), N)
    again = many(files, hvg_flavor="bioformer", **held | {"hvg": N})
    assert chosen(again) == set(np.array(full.vocabulary.names)[mask])
    assert chosen(again) != chosen(store)
    with pytest.raises(ValueError, match="hvg is 391, but only 389 of the 400 genes can be chosen"):
        from_store(full, 391)


def test_a_gene_has_no_score_where_it_was_not_measured(many):
    files = [adata(seed) for seed in range(3)]
    reference = many(files, hvg_flavor="seurat")
    gene = reference.vocabulary.symbols[0]
    # In two files of three the most variable gene of the rest: to scanpy's zeros it is not.
    lacking = [files[0], files[1], files[2][:, files[2].var_names != gene].copy()]
    store = many(lacking, hvg_flavor="seurat")
    assert gene in chosen(store)
    assert not store.measured[store.gene_set[2]][store.vocabulary.index(gene)]
    # Batches across the files: the mean is over the cells that measured the gene.
    halves = [files[0][:75].copy(), files[0][75:].copy()]
    for half in halves:
        half.obs["all"] = "one"
    without = [halves[0], halves[1][:, halves[1].var_names != gene].copy()]
    one = variable_genes.TrainingCells
    seen = []

    class Spied(one):
        def __init__(self, *args):
            super().__init__(*args)
            seen.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variable_genes, "TrainingCells", Spied)
        many(without, hvg_batch="all")
    cells_of = dict(zip(halves[0].var_names, seen[0].cells[0], strict=True))
    assert (seen[0].names, seen[0].undivided) == (["one"], False)
    assert cells_of.pop(gene) == 75
    assert set(cells_of.values()) == {150}


def test_genes_are_chosen_among_a_given_list(many, tmp_path):
    some = adata(0).var_names[:200]
    (tmp_path / "genes.txt").write_text("\n".join([*some, "NOT_THERE"]))
    store = many(adata(0), vocabulary=tmp_path / "genes.txt")
    assert chosen(store) == by_scanpy(adata(0)[:, some], "seurat", None)


def test_batches_of_one_cell_choose_nothing_and_are_named(many):
    file = adata(0)
    file.obs["donor"] = ["x"] + ["y", "z"] * 74 + ["y"]
    with pytest.warns(UserWarning, match="1 of 3 batches have fewer than two training cells.*: x"):
        store = many(file, hvg_batch="donor")
    assert chosen(store) == chosen(many(file[1:].copy(), hvg_batch="donor"))
    with pytest.raises(ValueError, match="no batch has two training cells with counts"):
        many(file[:1].copy())


def test_seurat_v3_of_rare_genes_widens_the_span(many):
    matrix = np.zeros((150, 400), np.float32)
    matrix[np.arange(400) % 150, np.arange(400)] = 1  # one count in one cell each
    matrix[:, :150] = various()[:, :150]
    with pytest.warns(UserWarning, match=r"too many genes have the same mean for a span of 0\.3"):
        store = many(cells(matrix, symbols=[f"G{i}" for i in range(400)]), hvg_flavor="seurat_v3")
    assert {int(name[1:]) for name in chosen(store)} <= set(range(150))


@pytest.mark.parametrize("n_genes", [3, 100])
def test_seurat_v3_without_a_curve_is_refused(many, n_genes):
    matrix = np.eye(100, dtype=np.float32)[:, :n_genes]  # all genes have one mean
    file = cells(matrix, symbols=[f"G{i}" for i in range(n_genes)])
    with pytest.raises(ValueError, match=rf"no curve of variance by .* AnnData \({n_genes} genes"):
        many(file, hvg=2, hvg_flavor="seurat_v3")


def test_values_without_kept_cells_need_no_chosen_gene(many):
    file = adata(0)
    file.X = sp.csr_matrix(file.X.toarray() * (file.obs["batch"] != "c").to_numpy()[:, None])
    store = many(file, measured_by="batch", min_genes=1)
    assert [facts["measured"] > 0 for facts in store.datasets] == [True, True, False]


def test_config_and_prepare_know_the_same_flavours():
    assert set(HVG) == set(variable_genes.FLAVORS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hvg": 0}, "hvg is 0; expected 1 or more"),
        ({"hvg": 401}, r"is 401, but only 395 of the 400 genes can be chosen by seurat \(they"),
        ({"hvg_flavor": "scran"}, "hvg_flavor: 'scran' is unknown; known are bioformer, cell_r"),
        ({"hvg": None, "hvg_batch": "batch"}, r"hvg_batch is 'batch', but no genes .*\(--hvg\)"),
        ({"hvg": None, "hvg_flavor": "seurat_v3"}, "hvg_flavor is 'seurat_v3', but no genes"),
        ({"hvg": None, "hvg_flavor": "seurat"}, "hvg_flavor is 'seurat', but no genes"),
        ({"hvg_flavor": "bioformer", "hvg_batch": "batch"}, "pools all cells and counts datasets"),
        ({"hvg_batch": "donor"}, "hvg_batch 'donor': AnnData has no such obs column; it has: b"),
        ({"hvg_batch": "type"}, r"AnnData: type is empty .* for 50 of 150 training cells"),
    ],
)  # fmt: skip
def test_refusals(many, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        many(adata(0), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_without_any_chosen_gene_is_refused(many, tmp_path):
    few = adata(1, slice(0, 2))
    few.X.data[:] = 1
    with pytest.raises(ValueError, match="AnnData 2: none of the 5 genes chosen by the training"):
        many([adata(0), few], hvg=5, hvg_flavor="bioformer", hold_out_file=few)
    assert list(tmp_path.iterdir()) == []


def test_seurat_v3_without_scikit_misc_names_the_extra(many, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skmisc.loess", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxcell\[hvg\]'"):
        many(adata(0), hvg_flavor="seurat_v3")
