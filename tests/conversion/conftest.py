"""A trained model, and its export."""

import pytest

import jaxcell
from jaxcell.training import loop
from tests.training.test_training import tiny


@pytest.fixture(scope="session")
def trained(store, tmp_path_factory):
    """The workdir of a run of a tiny TxFM whose tables are padded, with its export in torch/."""
    workdir = tmp_path_factory.mktemp("trained")
    fields = {"embed.genes": 32, "embed.draws": 2, "optimizer.weight_decay": 0.1}
    loop.train(tiny(store, **fields), workdir)
    jaxcell.convert(workdir, workdir / "torch", to="torch")
    return workdir
