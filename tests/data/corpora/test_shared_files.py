"""Two sources of a manifest that take cells of one file: all is known by source, no cell twice."""

import json

import numpy as np
import pytest

from jaxcell.data.store import Store
from tests.data.conftest import dense
from tests.data.corpora.test_corpus import GENES, classes, folder, run  # noqa: F401 - fixtures

TWO = """
name: mine
labels: {cell_type: {}, site: {}}
sources:
  - {name: blood, path: second.h5ad, labels: {cell_type: celltype}, keep: {site: blood}}
  - {name: gut, path: "h5ad:second.h5ad", labels: {cell_type: null}, keep: {site: gut},
     filters: {min_cells: 30}}
"""


def test_each_source_is_read_its_own_way(run):  # noqa: F811
    store = run(TWO)
    whole = run(TWO.partition("  - {name: gut")[0].replace(", keep: {site: blood}", ""))
    assert [name.split(" ")[1] for name in store.names] == ["(blood)", "(gut)"]
    assert classes(store, "train", "site") == classes(whole, "train", "site")
    sizes = [d["train"] for d in store.datasets]
    assert sum(sizes) == store.sizes["train"] == 120
    assert min(sizes) > 30
    order = np.argsort(whole.codes("train", "site"), kind="stable")
    wanted = dense(whole.read("train", order), len(GENES))
    found = dense(store.read("train", np.arange(120)), len(GENES))
    few = (wanted[sizes[0] :] > 0).sum(axis=0) < 30
    assert few.any()
    wanted[sizes[0] :, few] = 0
    np.testing.assert_array_equal(found, wanted)
    measured = store.measured[store.gene_set]
    assert measured[0].all()
    np.testing.assert_array_equal(measured[1], ~few)
    unlabelled = store.codes("train", "cell_type")[sizes[0] :]
    assert (unlabelled == -1).all()
    mappings = {d["source"]: d["mapping"] for d in store.datasets}
    assert len(mappings) == 2
    Store.open(store.path).verify()


@pytest.mark.parametrize(
    "second", ["keep: {celltype: T cell}", "share: 0.9, filters: {min_genes: 1}"]
)
def test_a_cell_of_both_is_refused(run, second):  # noqa: F811
    text = TWO.replace("keep: {site: gut},\n     filters: {min_cells: 30}", second)
    with pytest.raises(
        ValueError, match=r"\(gut\): \d+ of its cells are in .*\(blood\) too: both are cells of "
    ):
        run(text)


def test_a_single_cell_of_both_is_refused(run, folder):  # noqa: F811
    import anndata

    path = folder / "second.h5ad"
    adata = anndata.read_h5ad(path)
    adata.obs["part"] = ["a", "both", *"b" * 118]
    adata.write_h5ad(path)
    text = TWO.replace("keep: {site: blood}", "keep: {part: [a, both]}")
    with pytest.raises(ValueError, match=r"\(gut\): 1 of its cells are in .*\(blood\) too"):
        run(text.replace("keep: {site: gut}", "keep: {part: [both, b]}"))
    store = run(text.replace("keep: {site: gut}", "keep: {part: b}"))
    assert [d["train"] for d in store.datasets] == [2, 118]


def test_what_two_sources_take_of_a_dataset_is_held_out_together(run):  # noqa: F811
    text = TWO.replace("keep: {site", "dataset: donor, keep: {site").replace(
        "{min_cells: 30}", "{}"
    )
    seen = set()
    for seed in range(3):
        store = run(f"{text}seed: {seed}\nsplit: {{by: dataset, share: 0.4}}")
        options = json.loads((store.path / "store.json").read_text())["options"]
        assert options["manifest"]["seed"] == seed
        held = [d["valid"] for d in store.datasets]
        total = [d["train"] + d["valid"] for d in store.datasets]
        donors = np.array([f"d2-{i % 3}" for i in range(120)])
        assert sum(held) == (donors == "d2-0").sum() == 40  # one donor, in both of its sites
        assert all(0 < h < t for h, t in zip(held, total, strict=True))
        seen.add(tuple(held))
    assert len(seen) > 1  # not always the same donor


def test_datasets_of_two_kinds_in_one_file_are_refused(run):  # noqa: F811
    text = TWO.replace("keep: {site: gut}", "keep: {site: gut}, dataset: site")
    with pytest.raises(ValueError, match=r"gut.*dataset: found 'site' for .*expected the same"):
        run(text)
