import pytest

from jaxcell.bench import sources
from tests.data.conftest import cells, counts


def test_two_files_are_measured_and_shown(tmp_path, capsys):
    for seed in (0, 1):
        cells(counts(seed=seed)).write_h5ad(tmp_path / f"c{seed}.h5ad")
    sources.main([str(tmp_path / f"c{seed}.h5ad") for seed in (0, 1)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"| c0.h5ad | h5ad | 30 | {(counts() > 0).sum()} | ")
    found = sources.measure(str(tmp_path / "c1.h5ad"))
    assert (found["cells"], found["total"]) == (30, counts(seed=1).sum())
    assert found["peak_mb"] >= 0


def test_a_source_that_cannot_be_read_ends_it(tmp_path, capfd):
    with pytest.raises(SystemExit):
        sources.main([str(tmp_path / "absent.h5ad")])
    assert "absent.h5ad does not exist" in capfd.readouterr().err
