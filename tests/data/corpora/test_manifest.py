"""Manifests: what a file may say, and that the shipped ones say what the papers do."""

import pytest

from jaxcell.data.corpora.fields import count
from jaxcell.data.corpora.files import shipped
from jaxcell.data.corpora.manifest import read_manifest

SMALL = """
name: small
labels: {cell_type: {}}
sources:
  - {name: a, path: a.h5ad}
  - {name: b, path: b.h5ad}
"""


@pytest.fixture
def read(tmp_path):
    def of(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return read_manifest(tmp_path / name)

    return of


def test_defaults(read):
    found = read(SMALL)
    assert (found.name, found.seed, found.values, found.split) == ("small", 0, "counts", {})
    first = found.sources[0]
    assert (first.path, first.counts, first.where, first.share) == (
        ["a.h5ad"],
        "X",
        "not stated",
        1,
    )
    assert first.filters.asked == {}


def test_a_source_has_the_corpus_filters_but_for_its_own(read):
    found = read(
        SMALL.replace("b.h5ad}", "b.h5ad, filters: {min_genes: 0, max_mito: 0.2}}")
        + "filters: {min_genes: 200, min_cells: 3}\n"
    )
    assert found.sources[0].filters.asked == {"min_genes": 200, "min_cells": 3}
    assert found.sources[1].filters.asked == {"max_mito": 0.2, "min_cells": 3}


WRONG = {
    "sources": ("name: x\nsources: []", r"mine.yaml: sources: found \[\], expected one source"),
    "unknown": (
        SMALL + "filter: {}",
        r"mine.yaml: found the unknown field 'filter', expected some of about, base, caps",
    ),
    "unknown in a source": (
        SMALL.replace("path: b.h5ad", "path: b.h5ad, count: raw"),
        r"mine.yaml: sources\[1\] \(b\): found the unknown field 'count', expected .* counts,",
    ),
    "remove without a base": (
        SMALL + "remove: [a]",
        r"mine.yaml: remove: found \['a'\], expected a base \(base:\) that has these sources",
    ),
    "no path": (
        SMALL.replace("path: b.h5ad", "where: there"),
        r"mine.yaml: sources\[1\] \(b\).path: found None, expected a file",
    ),
    "no name": (
        "name: x\nsources: [{path: a.h5ad}]",
        r"mine.yaml: sources\[0\].name: found None, expected a name",
    ),
    "name twice": (
        SMALL.replace("name: b", "name: a"),
        r"mine.yaml: sources\[1\] \(a\).name: found 'a' again",
    ),
    "counts": (
        SMALL.replace("path: b.h5ad", "path: b.h5ad, counts: 3"),
        r"mine.yaml: sources\[1\] \(b\).counts: found 3, expected a text",
    ),
    "filters": (
        SMALL + "filters: {max_mito: 20}",
        r"mine.yaml: filters.max_mito: found 20, expected a share from 0 to 1",
    ),
    "filters that clash": (
        SMALL.replace("path: b.h5ad", "path: b.h5ad, filters: {max_total: 5}")
        + "filters: {min_total: 9}",
        r"mine.yaml: sources\[1\] \(b\).filters: max_total is 5 with min_total = 9",
    ),
    "a label of no corpus": (
        SMALL.replace("path: b.h5ad", "path: b.h5ad, labels: {tissue: organ}"),
        r"mine.yaml: sources\[1\] \(b\).labels: found 'tissue', expected a label .*: cell_type",
    ),
    "cap": (
        SMALL + "caps: {tissue: 5}",
        r"mine.yaml: caps: found 'tissue', expected dataset, or a label: cell_type",
    ),
    "cap of zero": (SMALL + "caps: {dataset: 0}", r"mine.yaml: caps.dataset: found 0, expected"),
    "yes": (
        SMALL.replace("path: b.h5ad", "path: b.h5ad, keep: {ctrl: [yes]}"),
        r"keep.ctrl\[0\]: found True, expected a text \(YAML reads yes, no, on and off as",
    ),
    "split": (
        SMALL + "split: {by: dataset}",
        r"mine.yaml: split: found {'by': 'dataset'}, expected 'by' with a 'share'",
    ),
    "split by what": (
        SMALL + "split: {by: donor, share: 0.1}",
        r"mine.yaml: split.by: found 'donor', expected one of dataset, cell",
    ),
    "types": (
        SMALL + "split: {by: dataset, share: 0.1, types: tissue}",
        r"mine.yaml: split.types: found 'tissue', expected a label: cell_type",
    ),
    "expect": (
        SMALL + "expect: {cells: many}",
        r"mine.yaml: expect.cells: found 'many', expected a number as the paper writes it",
    ),
    "expected classes": (
        SMALL + "expect: {classes: {tissue: 3}}",
        r"mine.yaml: expect.classes: found 'tissue', expected a label",
    ),
    "compute": (SMALL + "compute: {cells: 5}", r"mine.yaml: compute: found {'cells': 5}, expected"),
    "hvg": (SMALL + "hvg: {flavor: seurat}", r"mine.yaml: hvg.number: found None, expected"),
    "no mapping": ("- a", r"found list, expected a mapping of fields"),
    "no YAML": ("a: [", r"mine.yaml: is no YAML"),
    "a field twice": ("name: a\nname: b", r"mine.yaml: is no YAML: 'name' stands twice"),
    "no sources list": (
        "sources: {a: b}",
        r"mine.yaml: sources: found {'a': 'b'}, expected a list",
    ),
    "remove": (
        "base: diverse_rna\nremove: [k563]",
        r"mine.yaml: remove: found 'k563', expected one of glioblastoma, k562",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_fields(read, case):
    text, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        read(text)


def test_an_unknown_name_lists_those_that_are_shipped(read):
    with pytest.raises(FileNotFoundError, match="shipped are bioformer, .*diverse_rna, "):
        read_manifest("diverse-rna")
    with pytest.raises(FileNotFoundError, match="mine.yaml: base: manifest nothing: no such"):
        read("base: nothing")


def test_a_base_is_changed_field_by_field(read, tmp_path):
    (tmp_path / "below.yaml").write_text(
        SMALL + "filters: {min_genes: 5, min_cells: 3}\ncaps: {dataset: 9, cell_type: 4}\nseed: 1\n"
    )
    found = read(
        "base: below.yaml\nname: above\nremove: [a]\nfilters: {min_genes: null}\n"
        "caps: {dataset: null}\n"
        "sources:\n  - {name: b, counts: raw}\n  - {name: c, path: c.h5ad}\n"
    )
    assert [s.name for s in found.sources] == ["b", "c"]
    assert found.sources[0].path == ["b.h5ad"]
    assert found.sources[0].counts == "raw"
    assert found.sources[0].filters.asked == {"min_cells": 3}
    assert (found.name, found.seed, found.caps) == ("above", 1, {"cell_type": 4})


def test_bases_in_a_circle(read, tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    with pytest.raises(ValueError, match="found a circle b.yaml → a.yaml → b.yaml"):
        read("base: a.yaml", "b.yaml")


def test_the_hash_goes_by_content(read):
    first = read(SMALL).sha256
    assert read("# a remark\n" + SMALL, "other.yaml").sha256 == first
    assert read(SMALL + "seed: 2").sha256 != first


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("1,434,299", 1_434_299, 1_434_299),
        (502080, 502_080, 502_080),
        ("932K", 931_500, 932_500),
        ("33k", 32_500, 33_500),
        ("1.4M", 1_350_000, 1_450_000),
        ("30K+", 30_000, float("inf")),
    ],
)
def test_numbers_mean_what_their_rounding_leaves(text, low, high):
    found = count(text, "here")
    assert (found.low, found.high) == (low, high)
    assert low in found
    assert low - 1 not in found


def expected(name):
    return {s.name: str(s.expect.get("cells")) for s in read_manifest(name).sources}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_manifest_says_where_its_files_are_to_be_had(name):
    found = read_manifest(name)
    assert found.paper
    for source in found.sources:
        assert source.where != "not stated", source.name


def test_shipped():
    assert {n for n in shipped() if n.startswith("diverse_rna")} == {
        "diverse_rna",
        "diverse_rna_bulk",
        "diverse_rna_no_bulk",
        "diverse_rna_no_k562",
        "diverse_rna_k562_controls",
        "diverse_rna_full_k562",
        "diverse_rna_full_k562_2x",
    }


def test_diverse_rna_is_table_1():
    found = read_manifest("diverse_rna")
    cells = {s.name: s.expect["cells"].low for s in found.sources}
    genes = [s.expect["genes"].low for s in found.sources]
    assert sum(cells.values()) == 1_434_299 == found.expect["cells"].low
    assert genes == [21310, 8248, 15438, 18486, 16445, 17619, 24712, 19594, 36695]
    assert found.expect["genes"].low == 44_349
    asked = {s.name: s.filters.asked for s in found.sources}
    thresholds = {"min_genes": 2000, "min_cells": 1000}
    bare = ("k562", "tcga", "gtex")
    assert asked == {name: {} if name in bare else thresholds for name in cells}


@pytest.mark.parametrize(
    ("arm", "k562"),
    [
        ("diverse_rna_bulk", 0),
        ("diverse_rna_no_bulk", 502_080),
        ("diverse_rna_no_k562", 0),
        ("diverse_rna_k562_controls", 72_000),
        ("diverse_rna_full_k562", 1_900_000),
        ("diverse_rna_full_k562_2x", 1_900_000),
    ],
)
def test_the_sources_of_an_arm_add_up_to_what_it_expects(arm, k562):
    found = read_manifest(arm)
    others = sum(s.expect["cells"].low for s in found.sources if s.name != "k562")
    assert ("k562" in [s.name for s in found.sources]) == bool(k562)
    assert others + k562 in found.expect["cells"]
    assert found.compute == {"cells": 1434299, "epochs": 200} | (
        {"times": 2} if arm.endswith("2x") else {}
    )


def test_the_controls_are_kept_of_all_of_k562():
    [source] = [s for s in read_manifest("diverse_rna_k562_controls").sources if s.name == "k562"]
    assert source.keep == {"gene": ["non-targeting"]}
    assert source.path == ["k562.h5ad"]


def test_bmfm_is_split_by_dataset():
    found = read_manifest("bmfm_census")
    assert found.split == {"by": "dataset", "share": 0.1757, "types": "cell_type"}
    assert round(found.split["share"] * (394 + 84)) == 84
    assert {k: str(v) for k, v in found.expect.items()} == {
        "train": "5M",
        "valid": "1.2M",
        "train_datasets": "394",
        "valid_datasets": "84",
    }
    assert found.vocabulary["genes"].low == 19_362
    assert [s.share for s in found.sources] == [0.1]
    assert [s.share for s in read_manifest("bmfm_census_1pct").sources] == [0.01]


def test_benchmarks_are_the_papers_tables():
    assert expected("scformer") == {
        "cortex": "3,005",
        "pbmc_8k": "7,982",
        "spleen": "17,001",
        "immune": "33,506",
        "pancreas": "16,382",
    }
    genes = [s.expect["genes"].low for s in read_manifest("scformer").sources]
    assert genes == [19972, 3346, 13553, 12303, 19093]
    bmfm = expected("bmfm_benchmarks") | expected("bmfm_benchmarks_mouse")
    assert len(bmfm) == 18
    assert (bmfm["zheng68k"], bmfm["alzheimers"], bmfm["mca"]) == ("68K", "13,214", "400K+")
    where = {s.name: s.where for s in read_manifest("bmfm_benchmarks").sources}
    assert (where["dc"], where["multiple_sclerosis"]) == ("GSE94820", "E-HCAD-35")
    assert expected("pbmc_4k_8k") == {"pbmc": "11,990"}
    assert str(read_manifest("pbmc_4k_8k").expect["genes"]) == "2,000"
    assert list(expected("kedzierska")) == [
        "pan_immune",
        "pancreas",
        "pbmc_12k",
        "pbmc_68k",
        "tabula_sapiens",
    ]
    screens = read_manifest("txfm_perturbation").sources
    assert [s.name for s in screens] == ["rpe1", "hepg2", "jurkat"]
    assert all(s.expect["classes"]["gene"].low == 2392 for s in screens)
    gears = {s.name: s.expect["classes"]["condition"].low for s in read_manifest("gears").sources}
    assert gears == {"adamson": 87, "norman": 131 + 105}


def test_bioformer_holds_whole_sets_out():
    found = {s.name: s for s in read_manifest("bioformer").sources}
    assert {n: (s.split, str(s.expect["datasets"])) for n, s in found.items()} == {
        "train": ("train", "20"),
        "test": ("valid", "7"),
    }
    [atlases] = read_manifest("tf_sapiens").sources
    assert str(atlases.expect["datasets"]) == "72"
    assert str(read_manifest("tf_sapiens").expect["cells"]) == "57M"
