"""Our models in PyTorch: the numbers of JAX, in float64; and what a folder may not be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcell.models.cell import CellModel
from tests.conversion.exports import SYSTEMS, VARIANTS, batch_of, exported

torch = pytest.importorskip("torch")

from jaxcell.conversion.torch_model import load  # noqa: E402


def of_jax(model, batch):
    """Outputs of our model in float64."""
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model.variables)
        batch = jax.tree.map(jnp.asarray, batch)
        net = CellModel(model.config.model)
        outputs, _ = net.apply(variables, batch, {}, train=False, tokens=True)
        return jax.tree.map(np.asarray, outputs)


def of_torch(net, batch):
    """The same of torch's, as arrays."""
    with torch.inference_mode():
        return jax.tree.map(lambda x: x.numpy(), net.double()(batch))


def distance(ours, theirs, batch, genes):
    """The largest difference between two trees of outputs, at valid tokens and real genes."""
    inside = np.arange(batch["ids"].shape[1]) < batch["length"][:, None]
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    most = 0.0
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if x.shape[:2] == inside.shape:
            x, y = x[inside], y[inside]
        elif x.shape != y.shape:
            x = x[..., :genes]
        assert x.shape == y.shape
        most = max(most, np.abs(x - y).max())
    return most


@pytest.mark.parametrize("name", [*SYSTEMS, *VARIANTS])
def test_outputs_are_those_of_jax(tmp_path, name):
    model, folder = exported(name, tmp_path)
    c = model.config
    batch = batch_of(c)
    ours, net = of_jax(model, batch), load(folder)
    assert set(ours["heads"]) == set(net.config["model"]["heads"])
    theirs = of_torch(net, batch)
    found = distance(ours, theirs, batch, c.model.vocabulary)
    print(name, found)
    assert found < 1e-9
