import gzip
import pickle
import tracemalloc

import h5py
import numpy as np
import pytest

from jaxcell.data.sources import matrix_market, open_source, spool
from tests.data.conftest import ENSEMBL, GENES, counts
from tests.data.sources.conftest import check, read


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("order", [None, 5])
@pytest.mark.parametrize("kind", ["integer", "real"])
def test_a_folder(tenx, monkeypatch, zipped, old, order, kind):
    monkeypatch.setattr(matrix_market, "BLOCK", 100)  # bytes: several lines, cut anywhere
    monkeypatch.setattr(spool, "BLOCK", 13)
    source = open_source(tenx(zipped=zipped, old=old, order=order, kind=kind), chunk_cells=7)
    check(source, counts())
    assert source.var["gene_ids"].tolist() == ENSEMBL
    assert source.var["gene_symbols"].tolist() == GENES
    assert source.obs.index[29] == "AAAC29-1"


def test_cells_without_counts_and_a_last_line_without_its_end(tenx):
    matrix = counts()
    matrix[[0, 7, 8, 29]] = 0
    folder = tenx(matrix, zipped=False)
    path = folder / "matrix.mtx"
    path.write_text(path.read_text().rstrip("\n"))
    check(open_source(folder, chunk_cells=7), matrix)


def test_prefixes_of_geo(tenx):
    folder = tenx(prefix="GSM1_")
    check(open_source(folder, chunk_cells=7), counts())
    tenx(counts(seed=1), prefix="GSM2_")
    check(open_source(folder / "GSM2_matrix.mtx.gz", chunk_cells=7), counts(seed=1))
    with pytest.raises(ValueError, match=r"expected one matrix.mtx .*found GSM1_mat.*, GSM2_mat"):
        open_source(folder)


@pytest.mark.parametrize("n_proteins", [0, 2])
def test_settled_in_a_folder_once(tenx, tmp_path, monkeypatch, n_proteins):
    n_genes = 8 - n_proteins
    types = ["Gene Expression"] * n_genes + ["Antibody Capture"] * n_proteins
    folder = tenx(order=1, types=types)
    source = open_source(folder)
    source.settle(tmp_path / "settled")
    np.testing.assert_array_equal(read(source), counts()[:, :n_genes])
    monkeypatch.setattr(matrix_market.MatrixMarket, "blocks", None)  # it is not read again
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(read(again, 3, 9), counts()[3:9, :n_genes])
    monkeypatch.undo()
    again = open_source(tenx(counts(seed=1), order=1, types=types))  # changed since
    again.settle(tmp_path / "settled")
    np.testing.assert_array_equal(read(again), counts(seed=1)[:, :n_genes])


def test_memory_is_bounded(tenx, monkeypatch):
    monkeypatch.setattr(matrix_market, "BLOCK", 2**16)
    folder = tenx(counts(20_000, 8), zipped=True)  # 90 000 values, 1 MB of text
    tracemalloc.start()
    source = open_source(folder, chunk_cells=100)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    seen = sum(float(c.sum()) for c in source.chunks())
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert seen == counts(20_000, 8).sum()
    assert peak < 1.5e6  # as 64-bit numbers the entries alone would be 2.1 MB


def rewrite(path, change):
    content = change(gzip.decompress(path.read_bytes()).decode().split("\n"))
    path.write_bytes(gzip.compress("\n".join(content).encode()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: [*x[:-10], ""], r"matrix.mtx.gz is truncated.*has \d+ values, its header says"),
        (lambda x: [*x[:-1], "1 1 4", ""], "has more values than the .* of its header"),
        (lambda x: [*x[:3], "1 2", *x[4:]], "a line is not three numbers"),
        (lambda x: [*x[:3], "1 2 x", *x[4:]], "a line is not three numbers"),
        (lambda x: [*x[:3], "1 2", "1 3 1 4", *x[5:]], "a line is not three numbers"),
        (lambda x: [*x[:3], "1 2 1 3", "1 4", *x[5:]], "a line is not three numbers"),
        (lambda x: [*x[:3], "1  2", "1 3 1 4", *x[5:]], "a line is not three numbers"),
        (lambda x: [*x[:3], "0 1 3", *x[4:]], "row 0; expected a whole number from 1 to 8"),
        (lambda x: [*x[:3], "9 1 3", *x[4:]], "row 9; expected a whole number from 1 to 8"),
        (lambda x: [*x[:3], "1 31 3", *x[4:]], "column 31; expected a whole number from 1 to 30"),
        (lambda x: [*x[:3], "1.5 1 3", *x[4:]], r"row 1\.5; expected"),
        (lambda x: [*x[:3], "1 1 0.5", *x[4:]], r"value 0\.5; the header says.* integers"),
        (lambda x: [x[0].replace("integer", "pattern"), *x[1:]], "holds 'pattern', expected integ"),
        (lambda x: ["gene,cell,count", *x[1:]], "begins 'gene,cell,count'; expected '%%MatrixMar"),
        (lambda x: [*x[:2], "8 30", *x[3:]], "where the numbers of rows, columns and values"),
        (lambda x: [*x[:2], x[2].replace("8 30", "30 8"), *x[3:]], "is 30 × 8; expected genes ×"),
    ],
)
def test_a_matrix_that_is_wrong(tenx, change, message):
    folder = tenx()
    rewrite(folder / "matrix.mtx.gz", change)
    with pytest.raises(ValueError, match=message) as error:
        read(open_source(folder))
    assert "matrix.mtx.gz" in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(" ", "\t"),
        lambda line: f"{line}\r",
        lambda line: f" {line.replace(' ', '  ')} ",
    ],
)
def test_numbers_stand_apart_in_any_way(tenx, change):
    folder = tenx()
    rewrite(folder / "matrix.mtx.gz", lambda x: [*x[:3], *map(change, x[3:])])
    np.testing.assert_array_equal(read(open_source(folder)), counts())


@pytest.mark.parametrize("file", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
def test_truncated_gzip(tenx, file):
    path = tenx() / file
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=rf"{file} is truncated or damaged"):
        read(open_source(path.parent))


def test_files_that_are_missing_or_do_not_fit(tenx):
    folder = tenx()
    rewrite(folder / "barcodes.tsv.gz", lambda lines: lines[1:])
    with pytest.raises(ValueError, match=r"is 8 × 30; expected .*features.tsv.gz\) × 29 \(lines"):
        open_source(folder)
    (folder / "barcodes.tsv.gz").unlink()
    with pytest.raises(ValueError, match=r"expected barcodes\.tsv\(\.gz\) beside matrix.mtx.gz, f"):
        open_source(folder)
    folder = tenx()
    (folder / "genes.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match=r"found features\.tsv\.gz, genes\.tsv"):
        open_source(folder)
    (folder / "genes.tsv").unlink()
    rewrite(folder / "features.tsv.gz", lambda lines: ["\tno id", *lines[1:]])
    with pytest.raises(ValueError, match=r"features\.tsv\.gz: its lines have different numbers of"):
        open_source(folder)
    (folder / "features.tsv.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"features\.tsv\.gz is empty"):
        open_source(folder)


@pytest.mark.parametrize("group", ["matrix", "GRCh38"])
def test_h5_of_both_versions(tenx_h5, group):
    source = open_source(tenx_h5(group=group), chunk_cells=7)
    check(source, counts())
    assert source.var["gene_symbols"].tolist() == GENES
    assert source.obs.index[0] == "AAAC0-1"


def test_h5_of_several_genomes(tenx_h5):
    path = tenx_h5(genomes=["GRCh38"] * 4 + ["mm10"] * 4)
    with pytest.raises(ValueError, match=r"sample.h5 has cells of several genomes, GRCh38, mm10"):
        open_source(path)
    types = ["Gene Expression"] * 7 + ["Antibody Capture"]
    path = tenx_h5(genomes=["GRCh38"] * 7 + [""], types=types, name="b.h5")
    assert len(open_source(path).var) == 7
    tenx_h5(group="hg19", name="c.h5")
    with pytest.raises(ValueError, match="several genomes, hg19, mm10"):
        open_source(tenx_h5(group="mm10", name="c.h5"))


def test_h5_whose_pointers_are_wrong(tenx_h5):
    """scipy reads beside its arrays by them, or leaves out values."""
    path = tenx_h5()
    with h5py.File(path, "r+") as file:
        pointers = file["matrix/indptr"][:]
        for at, value, message in ((0, 2, "pointers from 2"), (5, pointers[6] + 50, "falls from")):
            wrong = pointers.copy()
            wrong[at] = value
            file["matrix/indptr"][:] = wrong
            file.flush()
            with pytest.raises(ValueError, match=rf"sample\.h5, X is damaged: .*{message}"):
                open_source(path)


def test_h5_that_is_wrong(tenx_h5, tmp_path):
    path = tenx_h5()
    with h5py.File(path, "r+") as file:
        data = file["matrix/data"][:-1]
        del file["matrix/data"]
        file["matrix/data"] = data
    with pytest.raises(ValueError, match=r"sample\.h5, X is damaged: \d+ indices and \d+ values"):
        open_source(path)
    with h5py.File(path, "r+") as file:
        del file["matrix/indptr"]
    with pytest.raises(ValueError, match=r"truncated or damaged: .*indptr"):
        open_source(path)
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(ValueError, match=r"not an h5 of Cell Ranger: it has \['weights'\]"):
        open_source(tmp_path / "model.h5")
