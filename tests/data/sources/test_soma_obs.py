"""Columns of obs of a SOMA experiment: read when they are asked for, and in bounded memory."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from jaxcell.data.prepare import prepare
from jaxcell.data.sources import open_source
from jaxcell.data.sources.soma import SomaSource
from jaxcell.data.sources.soma_obs import KEPT, SomaObs, read_column
from tests.data.conftest import cells, counts
from tests.data.sources.conftest import write_soma

pa = pytest.importorskip("pyarrow")
pytest.importorskip("tiledbsoma")


@pytest.fixture
def experiment(tmp_path):
    """Function: obs columns -> the path of an experiment of 30 cells with these beside its own."""

    def make(**columns):
        adata = cells(counts())
        adata.obs = adata.obs.assign(**columns)
        return str(write_soma(tmp_path / "exp", adata))

    return make


@pytest.fixture
def asked(monkeypatch):
    """Names of the columns that are read, in order."""
    seen, read = [], SomaSource._column

    def column(self, name):
        seen.append(name)
        return read(self, name)

    monkeypatch.setattr(SomaSource, "_column", column)
    return seen


def test_only_what_is_asked_for_is_read(experiment, asked, tmp_path):
    path = experiment(depth=np.arange(30.0), other=np.arange(30))
    source = open_source(path)
    assert asked == []
    assert {"batch", "type", "depth", "other"} <= set(source.obs)
    assert "soma_joinid" not in source.obs
    assert len(source.obs) == 30
    prepare(
        tmp_path / "store", path, labels=["type"], measured_by="batch", progress=False,
        soma_filter="depth > 3",
    )  # fmt: skip
    assert set(asked) == {"type", "batch"}
    assert len(asked) == 2  # once each
    with pytest.raises(ValueError, match="has no such obs column; it has: .*batch, type, depth"):
        prepare(tmp_path / "b", path, labels=["tissue"], progress=False)


def test_values_are_those_of_the_experiment(experiment):
    plain = [f"name {i % 4}" for i in range(30)]
    path = experiment(depth=np.arange(30.0), plain=plain, flag=np.arange(30) % 2 == 0)
    obs = open_source(path, value_filter="depth > 3").obs
    assert obs["depth"].tolist() == list(range(4, 30))
    assert obs["flag"].tolist() == [i % 2 == 0 for i in range(4, 30)]
    assert obs["plain"].tolist() == plain[4:]
    assert obs["plain"].dtype == "category"
    assert obs["batch"].tolist() == ["abc"[i % 3] for i in range(4, 30)]
    assert obs.index.tolist() == [f"cell{i}" for i in range(4, 30)]
    whole = obs.copy()
    assert isinstance(whole, pd.DataFrame)
    assert whole.index.tolist() == obs.index.tolist()
    assert whole.columns.tolist() == obs.columns.tolist()
    assert whole["depth"].tolist() == obs["depth"].tolist()
    assert obs.iloc[[2, 0]]["depth"].tolist() == [6, 4]
    assert obs[(obs["depth"] > 27).to_numpy()]["plain"].tolist() == ["name 0", "name 1"]


def test_the_last_columns_are_kept_and_those_put_there():
    read = []

    def column(name):
        read.append(name)
        return pd.Series([int(name)] * 3)

    obs = SomaObs(column, map(str, range(KEPT + 1)), 3, lambda: pd.RangeIndex(3))
    for name in [*obs, *reversed(list(obs))]:
        assert obs[name].tolist() == [int(name)] * 3
    assert read == [*obs, "0"]  # all but the first were still there
    other = obs.copy(deep=False)
    other["new"] = pd.Series("abc")
    del other["1"]
    assert ("new" in obs, "1" in obs, "1" in other) == (False, True, False)
    assert list(other)[-1] == "new"
    for name in ("1", "absent"):
        with pytest.raises(KeyError, match=name):
            other[name]


def places(ids, given):
    return np.array([ids.tolist().index(i) if i in ids else -1 for i in given], np.int32)


def test_rows_in_another_order_and_other_rows():
    ids, first = np.array([3, 5, 8]), pa.table({"soma_joinid": [8, 3], "x": ["c", "a"]})
    one = pa.table({"soma_joinid": [5], "x": ["b"]})
    assert read_column([first, one], "x", ids, places).to_pylist() == ["a", "b", "c"]
    other = pa.table({"soma_joinid": [6], "x": ["b"]})
    for tables in ([first], [first, other], [first, one, one]):
        with pytest.raises(ValueError, match="cells have x, and not the 3"):
            read_column(tables, "x", ids, places)


N, COLUMNS = 80_000, 80
MADE = """
import sys
from jaxcell.data.prepare import prepare
from jaxcell.data.sources.soma import import_soma

def kilobytes(what):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))

import_soma()
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = kilobytes("VmRSS")
prepare(sys.argv[2], sys.argv[1], labels=["type"], progress=False)
print(kilobytes("VmHWM") - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_columns(tmp_path):
    """Peak of a process that makes a store of 80 000 cells with 82 obs columns."""
    import anndata
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    obs = pd.DataFrame({f"c{i}": rng.random(N) for i in range(COLUMNS)})
    obs["type"] = pd.Categorical(np.array(["T", "B"])[np.arange(N) % 2])
    obs.index = [f"cell{i}" for i in range(N)]
    x = sp.csr_matrix((np.full(N, 3, np.float32), np.arange(N) % 8, np.arange(N + 1)), (N, 8))
    uri = str(write_soma(tmp_path / "exp", anndata.AnnData(x, obs, cells().var)))
    command = [sys.executable, "-c", MADE, uri, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, others = int(done.stdout) / 1e3, 8 * N * COLUMNS / 1e6
    assert peak < 2 * others, peak  # MB: 63 on one machine; 216 where all columns are read
