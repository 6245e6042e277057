"""Errors advise by what the caller has: options, fields of a manifest, fields of a config."""

import re

import numpy as np
import pytest

from jaxcell import config
from jaxcell.data import advice
from jaxcell.data.corpora import fields
from jaxcell.data.prepare import prepare
from jaxcell.data.unprepared import open_store
from tests.data.conftest import cells, counts

MINE = "name: mine\nsources: [{name: a, path: cells.h5ad%s}]\n"
BY_MANIFEST = {
    "counts": ("", ", counts: layers/q", r"mine.yaml: .*no counts at 'layers/q'.* \(counts\)$"),
    "values": (
        "log1p", "", r"Counts were found in layers/umi \(counts: layers/umi\)$",
    ),
    "filter": ("", ", value_filter: x > 1", r"found value_filter='x > 1' \(value_filter\); it is"),
    "min_genes": ("", ", filters: {min_genes: 99}", r"\(the most is 7\); lower filters.min_genes$"),
    "measured_by": ("nameless", ", measured_by: batch", r"leave them out \(measured_by\)$"),
    "duplicates": (
        "twice", "", r"duplicates: sum adds them up, duplicates: first takes the first column",
    ),
    "features": ("", ", features: Peaks", r"none with a type \(features\)$"),
}  # fmt: skip


def made(kind):
    adata = cells(umi=counts())
    if kind == "log1p":
        adata.X = np.log1p(counts())
    elif kind == "nameless":
        adata.obs["batch"] = [None, *"a" * 29]
    elif kind == "twice":
        adata = cells(symbols=["A", "A", *"BCDEFG"])
    return adata


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("case", BY_MANIFEST)
def test_a_manifest_is_advised_by_its_fields(h5ad, tmp_path, case):
    kind, given, message = BY_MANIFEST[case]
    h5ad(made(kind))
    (tmp_path / "mine.yaml").write_text(MINE % given)
    with pytest.raises(ValueError, match=message) as caught:
        prepare(tmp_path / "store", manifest=tmp_path / "mine.yaml", data=tmp_path, progress=False)
    assert "--" not in str(caught.value)
    assert str(caught.value).startswith("mine.yaml: ")


def test_what_stands_beside_a_manifest_stays_an_option(h5ad, tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE % "")
    with pytest.raises(FileNotFoundError, match=r"1 files are not in the folder \S* \(--data\)"):
        prepare(tmp_path / "store", manifest=tmp_path / "mine.yaml", data=tmp_path, progress=False)


def test_fields_are_those_of_manifests():
    known = {*fields.CORPUS, *fields.SOURCE}
    for name in advice.FIELDS.values():
        first, _, second = name.partition(".")
        assert first in known
        if second:
            inside = {"filters": fields.FILTERS, "split": fields.SPLIT, "hvg": fields.HVG}
            assert second in {"vocabulary": fields.VOCABULARY, **inside}[first]


BY_CONFIG = {
    "values": (
        "log1p",
        r"Counts were found in layers/umi \(--counts layers/umi\). --counts: an option of `jaxcell "
        r"prepare STORE \S*cells.h5ad` alone; then --config.data.store=STORE$",
    ),
    "min_genes": ("", r"lower --config.prepare.min_genes$"),
    "nameless": ("nameless", r"leave them out \(--config.prepare.measured_by\)$"),
    "twice": ("twice", r"--duplicates: an option of `jaxcell prepare STORE .*` alone"),
}


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("case", BY_CONFIG)
def test_a_config_is_advised_by_its_fields(h5ad, case):
    kind, message = BY_CONFIG[case]
    c = config.defaults()
    c.data.store = str(h5ad(made(kind)))
    if case == "min_genes":
        c.prepare.min_genes = 99
    elif case == "nameless":
        c.prepare.measured_by = "batch"
    with pytest.raises(ValueError, match=message):
        open_store(c, lambda text: None)


def test_fields_are_those_of_the_config():
    c = config.defaults()
    for name in advice.CONFIG.values():
        if name.startswith("--"):
            assert re.fullmatch(r"--config\.prepare\.(\w+)", name)[1] in c.prepare


def test_errors_of_other_kinds_pass_as_they_are():
    damaged = UnicodeDecodeError("utf-8", b"a", 0, 1, "--counts")
    with pytest.raises(UnicodeDecodeError) as caught, advice.of_config("x"):
        raise damaged
    assert caught.value is damaged
    with pytest.raises(KeyError, match="--counts"), advice.of_manifest("x"):
        raise KeyError("--counts")
