"""From a manifest to a store: what is kept, drawn, held out, expected and said."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from jaxcell import cli
from jaxcell.data.corpora.corpus import epochs
from jaxcell.data.corpora.listing import manifest as listing
from jaxcell.data.corpora.manifest import Entry, read_manifest
from jaxcell.data.corpora.places import key_of, matches
from jaxcell.data.filters import REMOVED, Filters, mitochondrial
from jaxcell.data.genes import identify
from jaxcell.data.matching import match
from jaxcell.data.prepare import prepare
from jaxcell.data.preparing import blocks
from jaxcell.data.preparing.survey import Asked, gather, survey_block
from jaxcell.data.sources import open_source
from jaxcell.data.store import Store
from jaxcell.data.union import union
from tests.data.conftest import dense
from tests.data.preparing.test_beam import in_turn
from tests.data.sources.test_zarr import quietly

GENES = ["MT-ND1", "MT-CO1", *(f"G{i}" for i in range(38))]
TYPES = ("T cell", "B cell", "NK cell", "unknown")


def study(seed, n=120, types=TYPES):
    """Cells with obs celltype, site and donor."""
    random = np.random.default_rng(seed)
    rate = random.gamma(0.6, 1.5, len(GENES)) * random.uniform(0.1, 2, (n, 1))
    obs = pd.DataFrame(
        {
            "celltype": random.choice(types, n),
            "site": random.choice(["blood", "gut"], n),
            "donor": [f"d{seed}-{i % 3}" for i in range(n)],
        },
        index=[f"{seed}-{i}" for i in range(n)],
    )
    matrix = sp.csr_matrix(random.poisson(rate).astype(np.float32))
    return anndata.AnnData(matrix, obs, pd.DataFrame(index=GENES))


MANIFEST = """
name: mine
labels: {cell_type: {}, site: {}}
sources:
  - {name: first, path: "first/*.h5ad", labels: {cell_type: celltype}, where: shelf 1}
  - {name: second, path: second.h5ad, labels: {cell_type: celltype}, where: shelf 2}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "first").mkdir()
    for seed, name in enumerate(["first/a", "first/b", "second"]):
        study(seed).write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


@pytest.fixture
def run(folder):
    """Function: the text of a manifest → its store."""
    made = []

    def of(text, **options):
        made.append(folder / f"store{len(made)}")
        (folder / "mine.yaml").write_text(text)
        options = {"data": folder, "progress": False} | options
        return prepare(made[-1], manifest=folder / "mine.yaml", **options)

    yield of
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def classes(store, split, column):
    codes, names = store.codes(split, column), store.classes[column]
    return pd.Series([names[c] if c >= 0 else "?" for c in codes]).value_counts().to_dict()


def test_a_manifest_gives_the_store_of_its_files(run, folder):
    store = run(MANIFEST)
    files = [folder / "first" / "a.h5ad", folder / "first" / "b.h5ad", folder / "second.h5ad"]
    plain = prepare(folder / "plain", files, labels=["celltype", "site"], progress=False)
    assert [d["source"] for d in store.datasets] == list(map(str, files))
    assert list(store.labels) == ["cell_type", "site"]
    assert list(store.labels.values()) == list(plain.labels.values())
    read = [s.read("train", np.arange(360)) for s in (store, plain)]
    np.testing.assert_array_equal(*(dense(rows, len(GENES)) for rows in read))
    np.testing.assert_array_equal(*(rows.labels for rows in read))
    options = json.loads((store.path / "store.json").read_text())["options"]
    assert options["manifest_sha256"] == read_manifest(folder / "mine.yaml").sha256
    assert list(options["manifest"]["sources"]) == ["first", "second"]


@pytest.mark.parametrize("by", ["manifest", "options"])
def test_filters_are_scanpys(run, folder, by):
    thresholds = {
        "min_genes": 8, "max_genes": 21, "min_total": 15, "max_total": 60, "max_mito": 0.08,
        "min_cells": 20,
    }  # fmt: skip
    file = folder / "second.h5ad"
    if by == "manifest":
        store = run(MANIFEST + f"filters: {json.dumps(thresholds)}", only="second")
    else:
        store = prepare(folder / "s", file, progress=False, **thresholds)
    found = study(2)
    found.var["mt"] = found.var_names.str.startswith("MT-")
    sc.pp.calculate_qc_metrics(found, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    before = found.n_obs
    removed = {}
    for name, scanpys in (
        ("min_genes", "min_genes"), ("max_genes", "max_genes"), ("min_total", "min_counts"),
        ("max_total", "max_counts"),
    ):  # fmt: skip
        sc.pp.filter_cells(found, **{scanpys: thresholds[name]})
        removed[name], before = before - found.n_obs, found.n_obs
    found = found[found.obs["pct_counts_mt"] <= 8].copy()
    removed["max_mito"] = before - found.n_obs
    sc.pp.filter_genes(found, min_cells=20)
    rows = store.read("train", np.arange(store.sizes["train"]))
    assert store.vocabulary.symbols == tuple(found.var_names)
    np.testing.assert_array_equal(dense(rows, found.n_vars), found.X.toarray())
    [facts] = store.datasets
    said = {n: facts[f"{'below' if n.startswith('min') else 'above'}_{n}"] for n in removed}
    assert said == removed
    assert all(removed.values())
    assert facts["below_min_cells"] == len(GENES) - found.n_vars > 0
    assert "many genes  few counts  many counts  mitochondrial" in store.table()
    assert "cells with a large mitochondrial share (--max-mito)" in store.table()


def test_genes_by_frequency_and_dispersion(run, folder):
    store = run(MANIFEST + "filters: {min_frequency: 0.3, min_dispersion: 1.5}", only=["second"])
    matrix = study(2).X.toarray().astype(np.float64)
    often = (matrix > 0).mean(axis=0) >= 0.3
    uneven = matrix.var(axis=0, ddof=1) / np.maximum(matrix.mean(axis=0), 1e-12) >= 1.5
    assert store.vocabulary.symbols == tuple(np.array(GENES)[often & uneven])
    [facts] = store.datasets
    assert facts["below_min_frequency"] == (~often).sum() > 0
    assert facts["below_min_dispersion"] == (often & ~uneven).sum() > 0


def test_blocks_of_cells_add_up_to_the_source(folder):
    source = open_source(folder / "second.h5ad")
    names = identify(source.var)
    found = match(names, union({"second": names}))
    asked = Asked(
        Filters(min_genes=8, max_mito=0.08, min_cells=20, min_dispersion=1.2),
        mitochondrial(names),
        np.arange(120) % 7 > 0,
        measured_by="site",
    )
    whole, parted = (
        gather(source, found, asked, [survey_block(source, found, asked, *rows) for rows in cut])
        for cut in ([(0, 120)], [(0, 1), (1, 50), (50, 120)])
    )
    for name in ("kept", "removed", "total", "filtered", "measured", "few"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parted, name))
    assert {REMOVED[i] for i in np.unique(whole.removed)} == {
        "", "min_genes", "max_mito", "not_asked_for",
    }  # fmt: skip
    assert all(whole.few[name] for name in ("min_cells", "min_dispersion"))


def test_a_source_keeps_what_it_names(run):
    store = run(MANIFEST.replace("where: shelf 2", "keep: {site: gut, celltype: [T cell, B cell]}"))
    obs = study(2).obs
    kept = (obs["site"] == "gut") & obs["celltype"].isin(["T cell", "B cell"])
    facts = store.datasets[2]
    assert (facts["train"], facts["not_asked_for"]) == (kept.sum(), (~kept).sum())
    assert "not asked for" in store.table()


def test_cells_that_stand_twice_may_be_left_out_of_one_source(run, folder):
    """An atlas has a study's cells again; `keep` says where each is taken from."""
    both = anndata.concat([study(0), study(2)])
    both.obs["primary"] = np.where(both.obs_names.str.startswith("0"), "no", "yes")
    both.write_h5ad(folder / "second.h5ad")
    with pytest.raises(ValueError, match="second.h5ad: 120 of its cells are in .*a.h5ad too"):
        run(MANIFEST)
    store = run(MANIFEST.replace("where: shelf 2", "keep: {primary: 'yes'}"))
    assert store.sizes["train"] == 360


def test_a_share_is_drawn_by_seed(run):
    text = MANIFEST.replace("where: shelf 1", "share: 0.3")
    first = run(text)
    sizes = [d["train"] for d in first.datasets]
    assert all(15 < n < 60 for n in sizes[:2])
    assert sizes[2] == 120
    assert run(text).content_hash == first.content_hash
    assert run(text + "seed: 1").content_hash != first.content_hash
    # A source's draw does not change with the others'.
    assert run(text, only="first").sizes["train"] == sum(sizes[:2])


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("first/a.h5ad", "one/first/a.h5ad"),
        ("h5ad:first/a.h5ad", "one/h5ad:first/a.h5ad"),
        ("census:2025-01-30/homo_sapiens", "one/census:2025-01-30/homo_sapiens"),
        ("soma:s3://bucket/atlas", "one/soma:s3://bucket/atlas"),
        ("scanpy:pbmc68k_reduced", "one/scanpy:pbmc68k_reduced"),
    ],
)
def test_cells_are_drawn_alike_wherever_the_data_lie(folder, monkeypatch, path, key):
    monkeypatch.chdir(folder / "first")
    entry = Entry("", "one", [path])
    for data in (folder, "..", "../../" + folder.name):
        (found,) = matches(path, data)
        assert key_of(found, entry, data) == key


def test_files_of_one_name_are_two_datasets(run, folder):
    """Split and drawn apart."""
    for name in ("x", "y"):
        (folder / "first" / name).mkdir()
        adata = study(7)
        adata.obs_names = [
            f"{name}-{cell}" for cell in adata.obs_names
        ]  # the same cells are refused
        adata.write_h5ad(folder / "first" / name / "same.h5ad")
    text = MANIFEST.replace("first/*.h5ad", "first/*/same.h5ad").replace(
        "where: shelf 2", "split: train"
    )
    store = run(text + "split: {by: dataset, share: 0.5}\nexpect: {datasets: 3}")
    assert sorted(d["valid"] for d in store.datasets) == [0, 0, 120]
    store = run(text.replace("where: shelf 1", "share: 0.5"), only="first")
    rows = store.read("train", np.arange(store.sizes["train"]))
    [x, y] = (rows.total[rows.dataset == i] for i in (0, 1))
    assert len(x) != len(y) or (x != y).any()


def test_a_file_without_a_cell_to_keep_is_left_out(run, folder):
    study(4, types=("T cell",)).write_h5ad(folder / "first" / "t.h5ad")
    text = MANIFEST.replace("where: shelf 1", "keep: {celltype: [B cell]}")
    with pytest.warns(
        UserWarning, match=r"\(first\): no cell of .*t.h5ad is to be kept: it is left"
    ):
        store = run(text)
    assert len(store.datasets) == 3
    with pytest.raises(ValueError, match=r"\(first\): found keep .* expected one cell at least"):
        run(text.replace("celltype: [B cell]", "celltype: [B cell], donor: d4-0"))


def test_caps(run):
    store = run(
        MANIFEST.replace("where: shelf 2", "most: 70") + "caps: {dataset: 90, cell_type: 50}"
    )
    assert sum(d["train"] + d["beyond_cap"] for d in store.datasets) == 360
    assert all(d["train"] <= most for d, most in zip(store.datasets, (90, 90, 70), strict=True))
    found = classes(store, "train", "cell_type")
    assert found.pop("?") > 0
    assert set(found.values()) == {50}
    assert "beyond cap" in store.table()


def test_the_same_cells_are_held_out_whatever_the_other_sources(run):
    text = MANIFEST + "split: {by: cell, share: 0.3}"
    every, one = run(text), run(text, only="second")
    mine = every.index("valid", "dataset") == 2
    totals = [every.index("valid", "total")[mine], one.index("valid", "total")]
    np.testing.assert_array_equal(*totals)


def test_datasets_are_held_out_and_every_type_is_trained_on(run, folder):
    study(3, types=("T cell", "rare")).write_h5ad(folder / "first" / "c.h5ad")
    for seed in range(2):
        store = run(
            f"{MANIFEST}seed: {seed}\nsplit: {{by: dataset, share: 0.5, types: cell_type}}\n"
            "expect: {train_datasets: 2, valid_datasets: 2}"
        )
        by_file = {d["source"].split("/")[-1]: (d["train"], d["valid"]) for d in store.datasets}
        assert by_file["c.h5ad"] == (120, 0)
        assert sorted(v for _, v in by_file.values()) == [0, 0, 120, 120]
        assert set(classes(store, "train", "cell_type")) == {*TYPES[:3], "rare", "?"}


def test_types_are_trained_on_although_cells_are_held_out_by_value_too(run, folder):
    """A type that one dataset has among held-out cells alone is kept by the other dataset."""
    rare, common = study(3, types=("rare",)), study(4, types=("T cell",))
    rare.obs["site"] = "skin"
    anndata.concat([rare, common]).write_h5ad(folder / "first" / "a.h5ad")
    study(5, types=("T cell", "rare")).write_h5ad(folder / "first" / "b.h5ad")
    text = MANIFEST.replace("where: shelf 2", "split: valid")
    for seed in range(4):
        store = run(
            f"{text}seed: {seed}\n"
            "split: {by: dataset, share: 0.5, types: cell_type, hold_out: [site=skin]}"
        )
        assert set(classes(store, "train", "cell_type")) == {"T cell", "rare"}
        assert set(classes(store, "train", "site")) == {"blood", "gut"}


def test_datasets_by_a_column_and_sources_that_are_fixed(run):
    text = MANIFEST.replace("where: shelf 1", "dataset: donor").replace(
        "where: shelf 2", "split: train"
    )
    store = run(text + "split: {by: dataset, share: 0.5}\nexpect: {datasets: 7, valid_datasets: 3}")
    assert store.sizes["valid"] == 120
    assert [d["valid"] > 0 for d in store.datasets] == [True, True, False]
    store = run(text.replace("split: train", "split: valid"))
    assert [d["valid"] for d in store.datasets] == [0, 0, 120]


def test_labels_become_terms(run, folder):
    known = {"B cell": "CL:0000236", "NK cell": "CL:0000623", "T cell": "CL:0000084"}
    (folder / "terms.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in known.items()))
    (folder / "cl.obo").write_text(
        "format-version: 1.4\n\n[Term]\nid: CL:0000000\nname: cell\n\n"
        + "\n".join(
            f"[Term]\nid: {i}\nname: {name}\nis_a: CL:0000000\n"
            for i, name in (
                ("CL:0000084", "T cell"), ("CL:0000236", "B cell"),
                ("CL:0000623", "natural killer cell"),
            )
        )
    )  # fmt: skip
    text = MANIFEST.replace("cell_type: {}", "cell_type: {ontology: cl.obo, map: terms.tsv}")
    store = run(text)
    assert store.labels["cell_type"] == ["CL:0000084", "CL:0000236", "CL:0000623"]
    plain = run(MANIFEST)
    expected = {known.get(k, "?"): n for k, n in classes(plain, "train", "cell_type").items()}
    assert classes(store, "train", "cell_type") == expected
    (folder / "terms.tsv").write_text("T cell\tCL:0000084\n")
    with pytest.raises(
        ValueError, match=r"sources\[0\] \(first\): .*a.h5ad, celltype: found 1 of 4 .*'NK cell'"
    ):
        run(text)


def test_a_label_that_a_source_does_not_have(run):
    store = run(MANIFEST.replace("{cell_type: celltype}, where: shelf 2", "{site: null}"))
    assert [d["without_labels"] for d in store.datasets] == [[], [], ["cell_type", "site"]]


REFUSED = {
    "missing": (
        MANIFEST.replace("second.h5ad", "third.h5ad").replace("first/*", "none/*")
        + "vocabulary: {file: genes.txt, where: the paper's page}",
        FileNotFoundError,
        r"3 files are not .*\n  mine.yaml: sources\[0\] \(first\): none/\*.h5ad — where: shelf 1"
        r"\n  mine.yaml: sources\[1\] \(second\): third.h5ad — where: shelf 2"
        r"\n  mine.yaml: vocabulary.file: genes.txt — where: the paper's page",
    ),
    "twice": (
        MANIFEST.replace("second.h5ad", "first/a.h5ad"),
        ValueError,
        r"sources\[1\] \(second\).path: found .*a.h5ad, expected a file that no other path names",
    ),
    "twice by its kind": (
        MANIFEST.replace("second.h5ad", "'h5ad:first/a.h5ad'"),
        ValueError,
        r"sources\[1\] \(second\).path: found .*a.h5ad, expected a file that no other path names",
    ),
    "label": (
        MANIFEST.replace("{cell_type: celltype}, where: shelf 2", "{cell_type: type}"),
        ValueError,
        r"sources\[1\] \(second\).labels.cell_type: found 'type': .*second.h5ad has no such obs",
    ),
    "keep": (
        MANIFEST.replace("where: shelf 2", "keep: {site: skin}"),
        ValueError,
        r"sources\[1\] \(second\).keep.site: found 'skin', expected .*: blood, gut",
    ),
    "no mitochondrial gene": (
        MANIFEST + "filters: {max_mito: 0.1, mito_prefix: 'mito:'}",
        ValueError,
        "a.h5ad: max_mito is asked for, but no gene's symbol begins with 'mito:'",
    ),
    "no cell": (
        MANIFEST + "filters: {min_total: 10000, min_genes: 1}",
        ValueError,
        r"the filters leave none of the 120 cells; removed are by .*min_total 10000",
    ),
    "no gene": (
        MANIFEST + "filters: {min_dispersion: 1000}",
        ValueError,
        "the filters leave none of its genes; removed are by min_dispersion 1000: 40",
    ),
    "too few cells": (
        MANIFEST.replace("where: shelf 2", "expect: {cells: 1K, genes: 40}"),
        ValueError,
        r"1 numbers differ .*\n  .*\(second\).expect.cells: found 120 before any .*, expected 1K",
    ),
    "other numbers": (
        MANIFEST.replace("where: shelf 2", "expect: {cells: 100, classes: {cell_type: 4}}")
        + "expect: {genes: 41, cells: 360, train: 300+}",
        ValueError,
        r"3 numbers differ .*\n  .*\(second\).expect.cells: found 120, expected 100\n.*expect."
        r"classes.cell_type: found 3, expected 4\n  mine.yaml: expect.genes: found 40, expected 41",
    ),
    "datasets": (
        MANIFEST.replace("where: shelf 1", "expect: {datasets: 20}"),
        ValueError,
        r"\(first\).expect.datasets: found 2, expected 20",
    ),
    "logarithms": (
        MANIFEST + "values: log1p\nfilters: {max_total: 9}",
        ValueError,
        r"sources\[0\] \(first\): values is 'log1p' with max_total = 9",
    ),
    "hvg": (
        MANIFEST + "hvg: {number: 5, flavor: bioformer, batch: site}",
        ValueError,
        "mine.yaml: hvg: hvg_batch is 'site'; the flavour bioformer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_anything_is_written(run, folder, case):
    text, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        run(text)
    assert not (folder / "store0").exists()


def test_different_numbers_can_be_allowed(run):
    text = MANIFEST.replace("where: shelf 2", "expect: {cells: 1K}")
    with pytest.warns(UserWarning, match=r"expect.cells: found 120"):
        store = run(text, allow_different_counts=True)
    assert store.sizes["train"] == 360


def test_only_some_sources(run):
    store = run(MANIFEST + "expect: {cells: 360}", only="second")
    assert store.sizes["train"] == 120  # nothing is expected of a part
    with pytest.raises(
        ValueError, match="found none named 'third' .--only., expected some of first"
    ):
        run(MANIFEST, only="third")


CORPUS = (
    MANIFEST.replace("where: shelf 1", "share: 0.6, dataset: donor, measured_by: site").replace(
        "where: shelf 2", "keep: {site: gut}"
    )
    + "filters: {min_genes: 8, max_mito: 0.08, min_dispersion: 1.1}\ncaps: {cell_type: 40}\n"
    + "split: {by: dataset, share: 0.4, types: cell_type}"
)


def test_workers_do_with_what_is_laid_down_for_them(run, monkeypatch):
    """Beam's workers know the folder alone: filters and wanted cells must be there."""
    one = run(CORPUS)
    done = []
    monkeypatch.setattr(blocks.rows, "__defaults__", (32,))
    monkeypatch.setattr("jaxcell.data.prepare._engine", lambda beam: in_turn(done))
    two = run(CORPUS, beam="")
    assert len(done) > 12
    assert one.content_hash == two.content_hash
    assert one.sizes == two.sizes


def test_a_manifest_that_was_stopped_goes_on(run, folder, monkeypatch):
    one = run(CORPUS)
    monkeypatch.setattr(blocks.rows, "__defaults__", (32,))
    surveyed, left = survey_block, 7

    def stop(*given):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return surveyed(*given)

    monkeypatch.setattr("jaxcell.data.preparing.survey.survey_block", stop)
    out = folder / "stopped"
    asked = {"manifest": folder / "mine.yaml", "data": folder, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        prepare(out, **asked)
    (folder / "other.yaml").write_text(CORPUS + "\nseed: 3")
    with pytest.raises(ValueError, match=r"of another request: .*; manifest.seed was None, is 3; "):
        prepare(out, **asked | {"manifest": folder / "other.yaml"})
    left = 10**6
    two = prepare(out, **asked)
    assert left > 10**6 - 12  # of twelve blocks seven were done
    assert one.content_hash == two.content_hash


@pytest.mark.parametrize("kind", ["zarr", "a folder", "zarr:"])
def test_other_kinds_of_sources(run, folder, kind):
    """What `open_source` opens, a manifest names: relative to the data folder."""
    plain = run(MANIFEST)
    with quietly():
        study(2).write_zarr(folder / "second.zarr")
    path = {"zarr": "second.zarr", "a folder": "below", "zarr:": "zarr:second.zarr"}[kind]
    if kind == "a folder":
        (folder / "below").mkdir()
        (folder / "second.zarr").rename(folder / "below" / "second.zarr")
    assert run(MANIFEST.replace("second.h5ad", path)).content_hash == plain.content_hash
    with pytest.raises(FileNotFoundError, match=r"\(second\): zarr:none.zarr — where"):
        run(MANIFEST.replace("second.h5ad", "zarr:none.zarr"))
    with pytest.raises(ValueError, match="found genes_in='rows' .*bulk table"):
        run(MANIFEST.replace("where: shelf 2", "genes_in: rows"))


def test_what_stands_beside_a_manifest(run, folder):
    with pytest.raises(ValueError, match=r"min_genes is 5 beside the manifest .*base:"):
        run(MANIFEST, min_genes=5)
    with pytest.raises(ValueError, match="found files .* beside the manifest"):
        run(MANIFEST, files=[folder / "second.h5ad"])
    assert len(list((run(MANIFEST, shards=3)).path.glob("train-*"))) == 3


def test_arms_are_trained_for_the_same_compute():
    found = {
        n: read_manifest(n)
        for n in ("diverse_rna", "diverse_rna_full_k562", "diverse_rna_full_k562_2x")
    }
    assert epochs(found["diverse_rna"], 1_434_299) == 200
    assert epochs(found["diverse_rna_full_k562"], 2_832_219) == 101
    assert epochs(found["diverse_rna_full_k562_2x"], 2_832_219) == 203  # the paper: to 200 epochs
    assert epochs(read_manifest("gears"), 5) is None


def test_arms_of_small_files_under_the_names_of_the_shipped_manifest(run, folder):
    """The logic of the shipped arms on files that fit a test; only thresholds are lowered."""
    names = ["glioblastoma", "mixseq", "sciplex", "gastric_metaplasia", "tumour_microenvironment",
             "breast_cancer", "tcga", "gtex", "k562", "k562_phenoprints"]  # fmt: skip
    for seed, name in enumerate(names):
        found = study(seed, n=60)
        found.obs["gene"] = np.where(np.arange(60) % 4, "KLF1", "non-targeting")
        found.write_h5ad(folder / f"{name}.h5ad")
    few = np.mean(np.diff(study(0, n=60).X.indptr)).round()
    lowered = f"name: small\nfilters: {{min_genes: {int(few)}, min_cells: 5}}\n"
    sizes = {}
    for arm in ("", "_k562_controls", "_full_k562"):
        with pytest.warns(UserWarning, match="numbers differ from what TxFM 2026"):
            store = run(f"base: diverse_rna{arm}\n{lowered}", allow_different_counts=True)
        kept = {d["source"].split("/")[-1].removesuffix(".h5ad"): d for d in store.datasets}
        sizes[arm] = {name: d["train"] + d["valid"] for name, d in kept.items()}
        bare = {n: d for n, d in kept.items() if n in ("tcga", "gtex") or n.startswith("k562")}
        assert not any(d["below_min_genes"] or d["below_min_cells"] for d in bare.values())
        others = [d for n, d in kept.items() if n not in bare]
        assert all(d["below_min_genes"] for d in others)
    assert sizes[""]["k562_phenoprints"] == sizes["_full_k562"]["k562"] == 60
    assert sizes["_k562_controls"]["k562"] == 15
    assert len(sizes[""]) == len(sizes["_k562_controls"]) == len(sizes["_full_k562"]) == 9


def test_on_the_command_line(folder, capsys, monkeypatch):
    (folder / "mine.yaml").write_text(MANIFEST + "compute: {cells: 720, epochs: 10}")
    monkeypatch.chdir(folder)
    asked = ["prepare", "store", "--manifest", "mine.yaml", "--data", str(folder)]
    cli.main([*asked, "--only", "first"])
    assert Store.open("store").sizes["train"] == 240
    assert "train for 30 epochs of these 240 (config.epochs)" in capsys.readouterr().out
    cli.main(["prepare", "--manifest", "mine.yaml", "--data", str(folder), "--list"])
    assert "first   first/*.h5ad  yes, 2" in capsys.readouterr().out
    cli.main(["prepare", "--list"])
    assert "diverse_rna_k562_controls  DiverseRNA with K562 controls" in capsys.readouterr().out
    cli.main(["prepare", "plain", "second.h5ad", "--max-mito", "0.05", "--min-total", "20"])
    assert "mitochondrial" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["prepare", "--manifest", "mine.yaml"])
    missing = r"2 files are not in the folder .*\n.*first/\*.h5ad — where: shelf 1"
    with pytest.raises(SystemExit, match=missing):
        cli.main(["prepare", "new", "--manifest", "mine.yaml", "--data", str(folder / "first")])


def test_listing_says_what_is_missing(folder):
    text = listing("diverse_rna", folder)
    assert "expected in all: 1,434,299 cells, 44,349 genes" in text
    assert "k562          k562_phenoprints.h5ad         no     502,080  8,248" in text
