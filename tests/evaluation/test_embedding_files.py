import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell.evaluation.embedding_files import read_embedding

CELLS = np.array(["c3", "001", "c2"])
X = np.array([[1.5, -2], [3, 4], [5, 6e-3], [7, 8]])
NAMES = ["001", "c2", "extra", "c3"]


def write(path):
    table = pd.DataFrame(X, index=NAMES, columns=["PC_1", "PC_2"])
    if path.name.startswith("table"):  # as R's write.table: a header of the columns alone
        lines = ['"PC_1"\t"PC_2"'] + [
            f'"{n}"\t{a}\t{b}' for n, (a, b) in zip(NAMES, X, strict=True)
        ]
        path.write_text("\n".join(lines))
    elif ".csv" in path.suffixes:
        table.to_csv(path)
    elif path.suffix == ".tsv":
        table.to_csv(path, sep="\t")
    elif path.suffix == ".npz":
        np.savez(path, obs_names=np.array(NAMES), embedding=X)
    else:
        data = anndata.AnnData(np.zeros((4, 1), np.float32), obs=pd.DataFrame(index=NAMES))
        data.obsm["X_any"] = X
        data.write_h5ad(path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "table.txt", "a.npz", "a.h5ad"])
def test_rows_are_those_of_the_cells_by_name(name, tmp_path):
    found = read_embedding(write(tmp_path / name), "mine", CELLS)
    np.testing.assert_array_equal(found, X[[3, 0, 1]])


def test_an_h5ad_with_several_entries_needs_the_name(tmp_path):
    path = write(tmp_path / "a.h5ad")
    data = anndata.read_h5ad(path)
    data.obsm["mine"] = X + 1
    data.write_h5ad(path)
    np.testing.assert_array_equal(read_embedding(path, "mine", CELLS), X[[3, 0, 1]] + 1)
    with pytest.raises(ValueError, match=r"found \['X_any', 'mine'\] in obsm, expected 'other'"):
        read_embedding(path, "other", CELLS)


def _refused(tmp_path, name, text, error, cells=CELLS):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=error):
        read_embedding(path, "mine", cells)


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"embeddings mine=.*none.csv: no such file"):
        read_embedding(tmp_path / "none.csv", "mine", CELLS)
    _refused(tmp_path, "a.xlsx", "", r"found '.xlsx', expected one of .csv")
    rows = ",a\n001,1\nc2,2\nc3,3\n"
    _refused(tmp_path, "a.csv", rows + "c2,4\n", "found 1 names more than once in the file .*'c2'")
    _refused(
        tmp_path, "b.csv", rows[:-5], r"found 2 of the 3 evaluated cells.*without c3, for example"
    )
    twice = np.array(["c2", "c2"])
    _refused(tmp_path, "c.csv", rows, "names more than once in the evaluated cells", twice)
    _refused(tmp_path, "d.csv", rows.replace("3\n", "T cell\n"), "could not convert .*'T cell'")
    np.savez(tmp_path / "a.npz", x=X)
    _refused(tmp_path, "a.npz", None, r"found the arrays \['x'\], expected 'obs_names'")
    np.savez(tmp_path / "b.npz", obs_names=np.array(NAMES, object), embedding=X)
    _refused(tmp_path, "b.npz", None, "found objects, expected obs_names as text")
    np.savez(tmp_path / "c.npz", obs_names=np.array(NAMES), embedding=X[:3])
    _refused(tmp_path, "c.npz", None, r"found 4 cell names and an embedding \[3, 2\]")
