"""Training straight from a file: the run of the store that `prepare` makes of it."""

import numpy as np
import scipy.sparse as sp

from jaxcell import main
from jaxcell.data.prepare import prepare
from jaxcell.training import loop
from tests.data.conftest import cells
from tests.training.test_training import lines, tiny


def losses(workdir):
    return [(n["step"], v) for n in lines(workdir) for k, v in n.items() if "loss" in k]


def test_a_run_on_a_file_is_the_run_on_its_store(tmp_path, capsys):
    matrix = np.random.default_rng(0).poisson(1.0, (48, 60)).astype(np.float32)
    adata = cells(matrix, symbols=[f"G{i}" for i in range(60)])
    adata.X = sp.csr_matrix(adata.X)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    file = tmp_path / "cells.h5ad"
    store = prepare(tmp_path / "store", file, hold_out="batch=b", progress=False)
    found = {}
    for name, data in (("store", store.path), ("file", file)):
        c = tiny(store)
        c.data.store, c.prepare.hold_out, c.steps = str(data), ("batch=b",), 3
        assert loop.train(c, tmp_path / name)
        found[name] = losses(tmp_path / name)
    assert found["file"]
    assert found["file"] == found["store"]
    assert "cells.h5ad is not a store" in capsys.readouterr().out
    main.dry_run(c)
    said = capsys.readouterr().out
    assert "32 training and 16 validation cells of 1 datasets" in said
