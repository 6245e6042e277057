"""Every shipped manifest makes a store of small files that lie where it looks for them."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from jaxcell.data.corpora.files import shipped
from jaxcell.data.corpora.manifest import read_manifest
from jaxcell.data.prepare import prepare

GENES = [f"G{i}" for i in range(30)]
SINGLE = {"glioblastoma", "mixseq", "sciplex", "gastric", "tumour", "breast"}
ARMS = {
    "diverse_rna": SINGLE | {"k562", "tcga", "gtex"},
    "diverse_rna_bulk": {"tcga", "gtex"},
    "diverse_rna_no_bulk": SINGLE | {"k562"},
    "diverse_rna_no_k562": SINGLE | {"tcga", "gtex"},
}
TYPES = ("T cell", "B cell", "NK cell")


def cells(manifest, entry, seed, n=40):
    """Cells with the columns that a source is asked for, and its kind of values."""
    random = np.random.default_rng(seed)
    counts = sp.csr_matrix(random.poisson(random.gamma(1, 1, len(GENES)), (n, len(GENES))) * 1.0)
    columns = {entry.labels.get(name, name): name for name in manifest.labels}
    obs = {column: random.choice(TYPES, n) for column in columns}
    obs |= {column: np.resize([*values, "another"], n) for column, values in entry.keep.items()}
    if entry.dataset:
        obs[entry.dataset] = [f"{seed}-{i % 6}" for i in range(n)]
    obs = pd.DataFrame(obs, index=[f"{seed}-{i}" for i in range(n)])
    made = anndata.AnnData(counts.astype(np.float32), obs, pd.DataFrame(index=GENES))
    if entry.counts == "raw":
        made.raw = made.copy()
        made.X = made.X.log1p()
    if manifest.values == "log1p":
        made.X = made.X.log1p()
    return made


def small(name, folder):
    """A manifest based on a shipped one, with thresholds for 40 cells, and its files."""
    found = read_manifest(name)
    lowered = {"base": name, "name": "small", "sources": []}
    if found.sources[0].filters.asked:
        lowered["filters"] = {"min_genes": 10, "min_cells": 5}
    if found.hvg:
        lowered["hvg"] = {"number": 7}
    if found.split.get("by"):
        lowered["split"] = {"share": 0.4}
    if found.vocabulary:
        (folder / found.vocabulary["file"]).write_text("\n".join(GENES[:20]))
    lowered["labels"] = {n: {"ontology": None} for n, o in found.labels.items() if "ontology" in o}
    seed = 0
    for entry in found.sources:
        own = {"name": entry.name, "share": 1 if entry.share == 1 else 0.5}
        if entry.path[0].startswith("census:"):
            own["path"] = "census.h5ad"
        lowered["sources"].append(own)
        for path in [own.get("path", entry.path[0])] * (2 if "*" in entry.path[0] else 1):
            file = folder / path.replace("*", f"set{seed}")
            file.parent.mkdir(parents=True, exist_ok=True)
            cells(found, entry, seed).write_h5ad(file)
            seed += 1
    (folder / "small.yaml").write_text(json.dumps(lowered))
    return found, seed


@pytest.mark.filterwarnings("ignore:.*numbers differ from what")
@pytest.mark.filterwarnings("ignore:split by dataset")
@pytest.mark.parametrize("name", shipped())
def test_a_store_of_small_files(name, tmp_path):
    found, files = small(name, tmp_path)
    options = {"manifest": tmp_path / "small.yaml", "data": tmp_path, "progress": False}
    store = prepare(tmp_path / "store", **options, allow_different_counts=True)
    assert len(store.datasets) == files
    assert list(store.labels) == list(found.labels)
    assert all(list(names) == sorted(TYPES) for names in store.labels.values())
    assert {d["values"] for d in store.datasets} == {found.values}
    assert [d["counts"] for d in store.datasets][-1] == found.sources[-1].counts
    if name in ARMS:
        assert {e.name for e in by_file(found)} == ARMS[name]
    genes = 7 if found.hvg else 20 if found.vocabulary else len(GENES)
    assert len(store.vocabulary) == genes
    sizes = {e.name: np.zeros(2, int) for e in found.sources}
    for d, e in zip(store.datasets, by_file(found), strict=True):
        sizes[e.name] += (d["train"], d["valid"])
        if e.share == 1 and not e.keep:
            assert sum((d["train"], d["valid"], d["below_min_genes"])) == 40
    if found.split.get("by") or any(e.split for e in found.sources):
        assert store.sizes["valid"] > 0
    for e in found.sources:
        if e.split:
            mine = int(e.split == "valid")
            assert sizes[e.name][1 - mine] == 0 < sizes[e.name][mine]


def by_file(found):
    return [e for e in found.sources for _ in range(2 if "*" in e.path[0] else 1)]


def test_numbers_of_the_paper_refuse_small_files(tmp_path):
    small("scformer", tmp_path)
    with pytest.raises(ValueError, match="10 numbers differ from what scFormer 2022") as error:
        prepare(tmp_path / "s", manifest="scformer", data=tmp_path, progress=False)
    pattern = r"\((\w+)\).expect.cells: found 40 before.* expected ([\d,]+)"
    found = re.findall(pattern, str(error.value))
    assert found[0] == ("cortex", "3,005")
    assert len(found) == 5
