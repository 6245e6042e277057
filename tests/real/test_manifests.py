"""A manifest over real files, beside scanpy; and the shipped ones beside the papers' texts."""

import os
import re
from pathlib import Path

import anndata
import numpy as np
import pytest
import scanpy as sc

from jaxcell.data.corpora.files import shipped
from jaxcell.data.corpora.manifest import read_manifest
from jaxcell.data.prepare import prepare
from tests.conftest import ROOT

DATA = Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data"))
PAPERS = DATA.parent / "papers"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no data folder at {DATA}; set JAXCELL_DATA"),
]
MANIFEST = """
name: blood and gut
labels:
  cell_type:
    ontology: annotation/cell_ontology/cl.obo
    map: annotation/cell_ontology/scp1884_label_to_cl_HANDMAPPED.tsv
  donor: {}
filters: {min_genes: 200, min_cells: 3}
caps: {cell_type: 500}
split: {by: dataset, share: 0.3, types: cell_type}
expect: {datasets: 33, valid_datasets: 10}
sources:
  - name: pbmc3k
    path: single_cell/pbmc3k_500x13865.h5ad
    labels: {cell_type: cell_type_ontology_term_id}
    filters: {max_mito: 0.05}
    expect: {cells: 400+, classes: {cell_type: 9}}
  - name: sorted
    path: single_cell/pbmc_facs_sorted_2140x8863_mudan.h5ad
    labels: {cell_type: cell_type_ontology_term_id}
    filters: {max_mito: 0.05, max_total: 2500}
  - name: kang
    path: perturbation/kang_ifnb_2000x9015_donors.h5ad
    labels: {cell_type: cell_type_ontology_term_id}
    dataset: donor
  - name: gut
    path: single_cell/crohn_gut_1020x18708_scp1884.h5ad
    dataset: donor
    keep: {cell_type: [B cells, Cycling cells, DC1]}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "mine.yaml").write_text(MANIFEST)
    return prepare(folder / "s", manifest=folder / "mine.yaml", data=DATA, progress=False)


def test_types_are_terms_and_each_is_trained_on(store):
    terms = store.labels["cell_type"]
    assert all(re.fullmatch(r"CL:\d{7}", term) for term in terms)
    train, valid = (store.codes(split, "cell_type") for split in ("train", "valid"))
    assert set(train[train >= 0]) == set(range(len(terms)))
    assert set(valid[valid >= 0]) <= set(train)
    counts = np.bincount(np.concatenate([train, valid]) + 1)[1:]
    assert counts.max() == 500  # the cap


def test_a_source_is_wholly_in_one_split_or_by_donor(store):
    found = {Path(d["source"]).name.split("_")[0]: d for d in store.datasets}
    assert all(0 in (found[n]["train"], found[n]["valid"]) for n in ("pbmc3k", "pbmc"))
    kang = found["kang"]
    assert kang["train"] > 0
    assert kang["valid"] > 0


def test_removed_cells_are_scanpys(store):
    for name, most in (("pbmc3k_500x13865", np.inf), ("pbmc_facs_sorted_2140x8863_mudan", 2500)):
        adata = anndata.read_h5ad(DATA / "single_cell" / f"{name}.h5ad")
        adata.var["mt"] = adata.var["symbol"].astype(str).str.startswith("MT-").to_numpy()
        sc.pp.calculate_qc_metrics(
            adata, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True
        )
        few = adata.obs["n_genes_by_counts"] < 200
        many = ~few & (adata.obs["total_counts"] > most)
        mito = ~few & ~many & (adata.obs["pct_counts_mt"] > 5)
        [facts] = [d for d in store.datasets if name in d["source"]]
        assert facts["below_min_genes"] == few.sum()
        assert facts["above_max_total"] == many.sum()
        assert facts["above_max_mito"] == mito.sum() > 0
        kept = adata[~(few | many | mito)]
        genes, _ = sc.pp.filter_genes(kept, min_cells=3, inplace=False)
        assert facts["below_min_cells"] == (~genes).sum() - facts["unmatched"]


SAYS = {  # of numbers that the text does not print so
    "diverse_rna_bulk": "34,259",  # 23,733 + 10,526, which the paper calls 33k
}


@pytest.mark.skipif(not PAPERS.is_dir(), reason=f"no papers at {PAPERS}")
@pytest.mark.parametrize("name", shipped())
def test_every_number_of_a_shipped_manifest_stands_in_the_papers(name):
    texts = " ".join(p.read_text() for p in PAPERS.glob("*.txt")).replace("⋆", " ")
    texts = re.sub(r"(?<=\d),(?=\d{3})", "", texts).replace("approximately 4 million", "4M")
    texts = texts.replace("57 million", "57M").replace("72000", "72K")
    found = read_manifest(name)
    numbers = [found.expect, *(s.expect for s in found.sources)]
    numbers = [*(n for e in numbers for n in e.values()), *found.vocabulary.values()]
    flat = [str(c) for n in numbers for c in (n.values() if isinstance(n, dict) else [n])]
    for text in (t for t in flat if re.fullmatch(r"[\d,.]+[KMk]?\+?", t)):
        if text in (SAYS.get(name), "236+"):  # Norman: 131 of two genes and 105 of one
            continue
        plain = text.replace(",", "").rstrip("+")
        assert re.search(rf"(?<![\d.]){re.escape(plain)}(?!\d)", texts, re.IGNORECASE), text


@pytest.mark.skipif(not PAPERS.is_dir(), reason=f"no papers at {PAPERS}")
@pytest.mark.parametrize("name", shipped())
def test_no_accession_or_address_is_invented(name):
    texts = " ".join(p.read_text() for p in PAPERS.glob("*.txt"))
    for source in read_manifest(name).sources:
        for said in re.findall(r"https?://\S+|\b(?:GSE|SRP|ERP|E-\w+-)\d+", source.where):
            assert said.rstrip(";,.") in texts, (source.name, said)
