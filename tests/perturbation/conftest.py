"""A store of planted perturbations, and models for it."""

import jax
import pytest

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.training import setup
from jaxcell.training.checkpoint import Model, save_model
from jaxcell.training.machine import model_of
from jaxcell.training.means import tables_of
from tests.conftest import config_of
from tests.perturbation.planted import CONTROL, Additive

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


def fresh(store, c, workdir):
    """The workdir, with a model as its first step finds it."""
    setup.adopt(c, store, print)
    model = model_of(c, train=False)
    variables, tables = (
        jax.device_get(model.init(jax.random.key(1))),
        tables_of(store, c, model.rows),
    )
    save_model(workdir, Model(c, named(store, c), store.classes, variables, tables, {"step": 0}))
    return workdir


def named(store, c):
    return store.vocabulary.with_specials(tuple(c.model.specials))


@pytest.fixture(scope="session")
def models(perturbed_store, tmp_path_factory):
    """Workdirs {variant: …} of models that are new: what is exact is so of any weights."""
    names = {"mse": "perturb,tiny", "affine": "perturb,affine,tiny", "ce": "perturb,ce,tiny"}
    found = {}
    for name, variant in names.items():
        c = tiny(perturbed_store, f"scformer:{variant}")
        found[name] = fresh(perturbed_store, c, tmp_path_factory.mktemp(name))
    return found
