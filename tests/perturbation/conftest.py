"""A store of planted perturbations, and models for it."""

import pytest

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.evaluation.perturbation.planted import CONTROL, Additive
from tests.conftest import config_of, fresh

PLANTED = Additive(genes=40, perturbed=4)
CONDITIONS = [CONTROL, *PLANTED.singles, *PLANTED.doubles[:2]]


@pytest.fixture(scope="session")
def perturbed_cells():
    """AnnData: 40 control cells, 10 of each of four singles and two doubles."""
    return PLANTED.cells(CONDITIONS, [40, *[10] * 6], seed=1)


@pytest.fixture(scope="session")
def perturbed_store(perturbed_cells, tmp_path_factory):
    out = tmp_path_factory.mktemp("perturbed") / "store"
    how = dict(labels=("condition", "batch"), hold_out_fraction=0.2, progress=False)
    return prepare(out, perturbed_cells, **how)


def tiny(store, name="scformer:perturb,tiny", **fields):
    """A config over that store; tokens for 16 of its 40 genes."""
    c = config_of(name)
    c.data.store = str(store.path)
    if c.data.sequence.number > 16:
        c.data.sequence.number = 16
    c.update_from_flattened_dict(fields)
    return config.settled(c)


@pytest.fixture(scope="session")
def models(perturbed_store, tmp_path_factory):
    """Workdirs {variant: …} of models that are new: what is exact is so of any weights."""
    names = {"mse": "perturb,tiny", "affine": "perturb,affine,tiny", "ce": "perturb,ce,tiny"}
    found = {}
    for name, variant in names.items():
        c = tiny(perturbed_store, f"scformer:{variant}")
        found[name] = fresh(perturbed_store, c, tmp_path_factory.mktemp(name))
    return found
