"""Which source a path is, and the sources in folders and patterns."""

import shutil
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.data.sources import expand, open_source
from jaxcell.data.sources.opening import KINDS, kind_of
from tests.data.conftest import cells, counts
from tests.data.test_prepare import everything


@pytest.fixture
def atlas(tmp_path, h5ad, tenx, tenx_h5, loom):
    """A folder with one source of each kind that needs no further library, in folders."""
    folder = tmp_path / "atlas"
    (folder / "deep" / "deeper").mkdir(parents=True)
    shutil.move(h5ad(cells(sp.csc_matrix(counts(seed=1)))), folder / "b.h5ad")
    shutil.move(tenx(counts(seed=2)), folder / "deep" / "sample")
    shutil.move(tenx_h5(counts(seed=3)), folder / "deep" / "deeper" / "c.h5")
    shutil.move(loom(counts(seed=4)), folder / "a.loom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata's next format
        cells(sp.csr_matrix(counts(seed=5))).write_zarr(folder / "deep" / "z.zarr")
    (folder / "README.txt").write_text("no counts")
    (folder / "cells.csv").write_text("cell,type\n")
    (folder / ".hidden.h5ad").write_text("")
    return folder


IN_ATLAS = ["a.loom", "b.h5ad", "deep/deeper/c.h5", "deep/sample", "deep/z.zarr"]


def test_a_folder_is_all_sources_in_it(atlas, make):
    assert [str(p.relative_to(atlas)) for p in expand(atlas)] == IN_ATLAS
    assert expand([str(atlas / "b.h5ad"), atlas / "deep" / "sample"]) == [
        str(atlas / "b.h5ad"), atlas / "deep" / "sample",
    ]  # fmt: skip
    store = make(atlas, labels=["type"])
    assert store.names == ["a.loom", "b.h5ad", "c.h5", "sample", "z.zarr"]
    assert len(store.vocabulary) == 8
    got = everything(store)[1]
    wanted = np.vstack([counts(seed=s) for s in (4, 1, 3, 2, 5)])
    np.testing.assert_array_equal(got, wanted)


def test_links_that_lead_back_are_not_followed(atlas):
    """Two of them are 2^40 ways down."""
    (atlas / "again").symlink_to(atlas)
    (atlas / "deep" / "up").symlink_to("..")
    assert [str(p.relative_to(atlas)) for p in expand(atlas)] == IN_ATLAS


def test_endings_in_capitals(h5ad, tmp_path):
    h5ad().rename(tmp_path / "CELLS.H5AD")
    assert expand(tmp_path) == [tmp_path / "CELLS.H5AD"]
    assert open_source(tmp_path / "CELLS.H5AD").n_cells == 30


def test_patterns(atlas):
    def found(pattern):
        return [str(p.relative_to(atlas)) for p in expand(str(atlas / pattern))]

    assert found("*.h5ad") == ["b.h5ad"]
    assert found("*.[hl]*") == ["a.loom", "b.h5ad"]
    assert found("**/*.h5") == ["deep/deeper/c.h5"]
    assert found("*/sample") == ["deep/sample"]
    assert found("dee*") == ["deep/deeper/c.h5", "deep/sample", "deep/z.zarr"]
    assert found("**/*.zarr") == ["deep/z.zarr"]
    # All that a pattern names is taken, bulk tables too; but nothing from inside of a source.
    assert found("*") == ["README.txt", "a.loom", "b.h5ad", "cells.csv", *IN_ATLAS[2:]]
    assert sorted(found("**")) == sorted(found("*"))


def test_samples_of_one_folder_by_their_prefixes(tenx, tmp_path):
    folder = tenx(prefix="GSM1_")
    assert expand(folder) == [folder]
    tenx(prefix="GSM2_")
    assert expand(folder) == [folder / f"GSM{i}_matrix.mtx.gz" for i in (1, 2)]


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no input that is known; known: FILE"):
        expand(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"\*\.h5ad: nothing that is known matches"):
        expand(str(tmp_path / "*.h5ad"))
    with pytest.raises(ValueError, match="empty holds no input that is known"):
        open_source(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        open_source(tmp_path / "absent")
    (tmp_path / "cells.rds").write_text("x")
    with pytest.raises(ValueError, match=r"unknown kind of input '\.rds'.*or KIND:PATH, of h5ad"):
        open_source(tmp_path / "cells.rds")


def test_a_source_given_twice_by_its_folder(atlas, make):
    with pytest.raises(ValueError, match=r"b\.h5ad is given twice"):
        make([atlas, atlas / "b.h5ad"])


def test_a_kind_by_its_name(h5ad, tmp_path):
    path = h5ad().rename(tmp_path / "cells.bin")
    assert open_source(f"h5ad:{path}").n_cells == 30
    assert kind_of("soma:s3://bucket/x") == ("soma", "s3://bucket/x")
    assert expand(["census:2025-01-30/homo_sapiens"]) == ["census:2025-01-30/homo_sapiens"]
    assert all(kind_of(f"{kind}:x")[0] == kind for kind in KINDS)


def test_options_of_another_kind_are_refused(h5ad, make):
    with pytest.raises(ValueError, match=r"value_filter=.*\(--soma-filter\); it is for soma"):
        make(h5ad(), soma_filter="tissue == 'lung'")
    with pytest.raises(ValueError, match=r"AnnData: found genes_in='rows' \(--genes-in\); it is f"):
        make(cells(), genes_in="rows")


def test_a_source_knows_what_opens_it_again(tenx):
    source = open_source(tenx(), features=["Peaks"])
    again = open_source(source.spec, **source.options)
    assert again.var.equals(source.var)
    assert open_source(cells()).spec is None
