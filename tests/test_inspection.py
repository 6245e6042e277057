import html
import json
import shlex

import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell.cli import main
from jaxcell.data.prepare import prepare
from jaxcell.drawing import short
from jaxcell.evaluation.source_figures import MOST
from jaxcell.evaluation.source_page import format_inspection
from tests.data.bad_files import MOUSE
from tests.data.conftest import GENES, cells, counts
from tests.data.sources.conftest import write_soma
from tests.data.sources.test_features import TYPES

LONG = "a_name_that_is_so_long_that_it_does_not_fit_into_any_row_of_a_picture_at_all"


@pytest.fixture
def files(tmp_path):
    """Function: {name: AnnData} → paths."""

    def write(**adatas):
        for name, adata in adatas.items():
            adata.write_h5ad(tmp_path / f"{name}.h5ad")
        return [tmp_path / f"{name}.h5ad" for name in adatas]

    return write


def inspect(sources, **options):
    return jaxcell.inspect(sources, progress=False, **options)


def test_one_source_on_the_command_line(files, tmp_path, capsys):
    (path,) = files(one=cells())
    main(["inspect", str(path), "--out", str(tmp_path / "out"), "--labels", "type"])
    said = capsys.readouterr().out
    for text in (
        "one.h5ad  30     ", "X: counts", "human (symbols in capitals)", "B 10, T 10",
        "Columns as asked for", "nothing that prepare would refuse or warn of",
    ):  # fmt: skip
        assert text in said
    results = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert results == inspect(path, labels=["type"])
    assert results["overlap"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h1>What lies in the sources</h1>" in page
    command = shlex.join(
        ["jaxcell", "inspect", str(path), "--labels", "type", "--out", str(tmp_path / "out")]
    )
    assert f"<pre><code>{html.escape(command)}</code></pre>" in page
    pictures = sorted(p.name for p in (tmp_path / "out" / "figures").iterdir())
    assert pictures == ["depth.png", "labels.png", "sparsity.png"]


def test_counts_are_found_where_they_are_and_said(files):
    log = np.log1p(counts())
    adata = cells(log)
    adata.raw = cells()
    in_layer, in_raw = files(layer=cells(log, umi=counts()), raw=adata)
    results = inspect([in_layer, in_raw])
    assert [one["counts"] for one in results["sources"]] == ["layers/umi", "raw"]
    assert results["sources"][0]["places"] == {"X": "like log1p of counts", "layers/umi": "counts"}
    said = format_inspection(results)
    assert "counts are in layers/umi: --counts layers/umi" in said
    forced = inspect([in_layer], counts="X")["sources"][0]
    assert "Counts were found in layers/umi" in forced["refused"][0]


def test_what_prepare_would_refuse_of_several(files, tmp_path):
    half = cells(seed=4)[::2].copy()
    paths = files(a=cells(seed=4), b=half, mouse=cells(seed=2, symbols=MOUSE))
    (tmp_path / "broken.h5ad").write_bytes(paths[0].read_bytes()[:5000])
    results = inspect([*paths, tmp_path / "broken.h5ad", tmp_path / "absent.h5ad"])
    assert [one["name"] for one in results["sources"]] == ["a.h5ad", "b.h5ad", "mouse.h5ad"]
    assert any("mixed species" in text for text in results["refused"])
    assert any("15 of its cells are in" in text for text in results["refused"])
    errors = [one["error"] for one in results["unreadable"]]
    assert "truncated or damaged" in errors[0]
    assert "absent.h5ad does not exist" in errors[1]
    assert results["shared_cells"][0] == [30, 15, 30]
    said = format_inspection(results)
    assert "note: 15 cell names of b.h5ad are in a.h5ad too: the same cells?" in said
    with pytest.raises(ValueError, match="mixed species"):
        prepare(tmp_path / "store", paths, progress=False)


def test_another_panel_of_a_batch_is_advised(files):
    x = counts(300) * 20
    x[0::3, :2] = 0
    adata = cells(x)
    adata.obs["plate"] = [f"p{i // 100}" for i in range(300)]
    (path,) = files(merged=adata)
    results = inspect(path)
    batches = results["sources"][0]["panels"]["batches"]
    assert {name: one["absent"] for name, one in batches.items()} == {"a": 2, "b": 0, "c": 0}
    said = format_inspection(results)
    assert "merged.h5ad: 2 genes have no count in batch=a, where the other batches let" in said
    assert "Then: --measured-by batch" in said
    assert not inspect(path, batch="plate")["sources"][0]["panels"]["advised"]


def test_a_folder_and_a_pattern_are_the_sources_in_them(files, tmp_path):
    files(a=cells(), b=cells(seed=1))
    for sources in (tmp_path, str(tmp_path / "*.h5ad")):
        results = inspect(sources)
        assert [one["name"] for one in results["sources"]] == ["a.h5ad", "b.h5ad"]


def test_values_that_are_no_numbers_are_told_of(files, tmp_path):
    x = counts()
    x[0, 0], x[1, 1] = np.nan, np.inf
    (path,) = files(a=cells(x))
    (found,) = inspect(path, out=tmp_path / "out")["sources"]
    assert "2 of the values read are NaN or infinite" in found["refused"][0]
    x[[0, 1], [0, 1]] = 0
    assert found["depth"]["most"] == x.sum(axis=1).max()
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_sample_says_so(files):
    (path,) = files(big=cells(counts(200)))
    said = format_inspection(inspect(path, cells=40))
    assert "40 of 200 cells were read, spread evenly (--cells)" in said


def test_a_store_beside_a_file_and_files_of_one_name(files, tmp_path):
    first, second = files(a=cells(), b=cells(seed=1))
    prepare(tmp_path / "store", [first, second], labels=["type"], progress=False)
    (tmp_path / "more").mkdir()
    cells(seed=5, symbols=[*GENES[:4], *"WXYZ"]).write_h5ad(tmp_path / "more" / "a.h5ad")
    results = inspect([tmp_path / "store", tmp_path / "more" / "a.h5ad"])
    assert [one["name"] for one in results["sources"]] == ["a.h5ad", "b.h5ad", "more/a.h5ad"]
    assert results["overlap"]["shared"] == [[8, 8, 4], [8, 8, 4], [4, 4, 8]]
    assert results["shared_cells"][0] == [None, None, None]


def test_a_store_by_its_url(files, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCELL_CACHE", str(tmp_path / "cache"))
    store = prepare(tmp_path / "store", files(a=cells()), labels=["type"], progress=False)
    here, there = inspect(store.path)["sources"], inspect(f"file://{store.path}")["sources"]
    (here, there) = (one[0] | {"file": ""} for one in (here, there))
    assert here == there


@pytest.mark.parametrize("number", [2, 12, MOST + 3])
def test_pictures_of_many_sources_with_long_names(files, tmp_path, number):
    adatas = {}
    for i in range(number):
        adata = cells(counts(12, seed=i), symbols=[*GENES[: 8 - i % 5], *"VWXYZ"[: i % 5]])
        adata.obs["tissue"] = [f"{LONG} {j % (i + 1)}" for j in range(12)]
        adatas[f"{LONG}_{i}"] = adata
    inspect(files(**adatas), out=tmp_path / "out")
    for name in ("depth", "groups", "labels", "overlap", "sparsity"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 5000
    page = (tmp_path / "out" / "report.html").read_text()
    assert (f"The {MOST} largest sources of {number}" in page) == (number > MOST)


def test_names_that_would_be_formulas_are_drawn(files, tmp_path):
    one, two = cells(counts(12)), cells(counts(12, seed=1))
    for adata in (one, two):
        adata.obs["tissue"] = [f"$ {chr(92)}frac {j % 2} $" for j in range(12)]
    inspect(files(**{"a$_{b$": one, "c$^$": two}), out=tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "labels.png").exists()


def test_the_ends_of_long_names_are_kept():
    assert short("short", 10) == "short"
    assert short("0123456789abcdef", 9) == "0123…cdef"
    assert len(short(LONG, 20)) == 20


def test_refusals(files, tmp_path):
    (path,) = files(a=cells())
    with pytest.raises(ValueError, match="no input"):
        inspect([])
    with pytest.raises(ValueError, match="cells: found -1, expected"):
        inspect(path, cells=-1)
    with pytest.raises(ValueError, match=r"column 'tissue': none of .* they have: batch, type"):
        inspect(path, labels="tissue")
    with pytest.raises(ValueError, match=r"a\.h5ad: it is a file; inspect writes a folder"):
        inspect(path, out=path)
    with pytest.raises(ValueError, match=r"absent\.h5ad does not exist"):
        inspect(tmp_path / "absent.h5ad")
    with pytest.raises(SystemExit, match=r"error: .*absent\.h5ad does not exist"):
        main(["inspect", str(tmp_path / "absent.h5ad")])


def test_kinds_of_inputs_are_read_as_prepare_reads_them(files, tmp_path, capsys):
    adata = cells(var=pd.DataFrame({"feature_types": TYPES}, index=GENES))
    (path,) = files(sample=adata)
    assert inspect(path)["sources"][0]["genes"] == 5
    assert inspect(path, features="Antibody Capture")["sources"][0]["genes"] == 7
    main(["inspect", str(path), "--features", "Antibody Capture", "CRISPR Guide Capture"])
    assert "sample.h5ad  30     " in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"no source has features of type Peaks; found were .*CRISP"
    ):
        inspect(path, features=["Peaks"])
    table = pd.DataFrame(counts()[:8], index=GENES, columns=[f"s{i}" for i in range(8)])
    table.to_csv(tmp_path / "bulk.csv")
    rows, columns = (inspect(tmp_path / "bulk.csv", genes_in=g) for g in ("rows", "columns"))
    assert rows["sources"][0]["depth"] != columns["sources"][0]["depth"]
    with pytest.raises(
        ValueError, match=r"value_filter='a == 1' \(--soma-filter\); it is for soma"
    ):
        inspect(path, soma_filter="a == 1")


def test_cells_of_an_experiment(tmp_path):
    pytest.importorskip("tiledbsoma")
    uri = write_soma(tmp_path / "exp", cells(), measurement="other")
    options = {"soma_filter": "batch != 'a'", "soma_measurement": "other"}
    (found,) = inspect(uri, **options)["sources"]
    assert found["cells"] == 20
    assert list(found["labels"]["batch"]["cells"]) == ["b", "c"]
    with pytest.raises(ValueError, match="has no measurement 'RNA'; it has other"):
        inspect(uri)


def test_a_page_names_the_options_that_were_given(tmp_path):
    inspect([cells()], out=tmp_path / "out", labels=["type"], cells=7, identifiers="symbols")
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    asked = "--labels type --cells 7 --identifiers symbols --out "
    assert f"jaxcell inspect '(AnnData in memory)' {asked}" in page
