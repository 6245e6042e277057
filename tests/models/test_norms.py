"""Batch and domain norm against torch's, and against themselves on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcell.models.norms import BatchNorm

torch = pytest.importorskip("torch")

B, T, D = 12, 5, 4


def tokens(seed=0):
    random = np.random.default_rng(seed)
    return random.normal(2, 3, (B, T, D)) * random.uniform(0.5, 2, D)


def everything():
    return np.ones((B, T), bool)


def run(norm, variables, x, domain, counted, train=True):
    """Output and statistics after one call, in float64."""
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (x, domain, counted)]
        made, new = norm.apply(variables, *arrays, train=train, mutable=["batch_stats"])
        return np.asarray(made), jax.tree.map(np.asarray, new["batch_stats"])


def start(norm, domains):
    shape = (domains, D)
    stats = {"mean": np.zeros(shape), "var": np.ones(shape), "seen": np.zeros(domains)}
    params = {"params": {}}
    if norm.affine:
        random = np.random.default_rng(9)
        params["params"] = {k: random.normal(1, 0.3, shape) for k in ("scale", "bias")}
    return {**params, "batch_stats": stats}


def torch_norm(variables, k=0):
    made = torch.nn.BatchNorm1d(D, dtype=torch.float64)
    if variables["params"]:
        made.weight.data = torch.tensor(variables["params"]["scale"][k])
        made.bias.data = torch.tensor(variables["params"]["bias"][k])
    return made


@pytest.mark.parametrize("affine", [True, False])
def test_each_domain_is_torchs_batch_norm_of_its_own_cells(affine):
    """Over two steps of mixed batches, and afterwards; domain 2 is missing in the second."""
    norm = BatchNorm(3, affine)
    variables = start(norm, 3)
    domains = np.arange(B) % 3, np.arange(B) % 2
    ours = [torch_norm(variables, k) for k in range(3)]
    for step, domain in enumerate(domains):
        x = tokens(step)
        made, stats = run(norm, variables, x, domain, everything())
        for k in np.unique(domain):
            mine = torch.tensor(x[domain == k]).transpose(1, 2)
            want = ours[k](mine).transpose(1, 2).detach().numpy()
            np.testing.assert_allclose(made[domain == k], want, atol=1e-9)
        variables = {**variables, "batch_stats": stats}
    for k in range(3):
        np.testing.assert_allclose(stats["mean"][k], ours[k].running_mean, atol=1e-12)
        np.testing.assert_allclose(stats["var"][k], ours[k].running_var, atol=1e-12)
    assert stats["seen"].tolist() == [10, 10, 4]
    made, after = run(norm, variables, x, np.full(B, 1), everything(), train=False)
    want = ours[1].eval()(torch.tensor(x).transpose(1, 2)).transpose(1, 2).detach().numpy()
    np.testing.assert_allclose(made, want, atol=1e-9)
    assert all((after[k] == stats[k]).all() for k in stats)


def test_what_does_not_count_is_not_felt():
    """Padded cells and tokens: the others' vectors and the statistics do not hang on them."""
    norm, domain, counted = BatchNorm(2, False), np.arange(B) % 2, everything()
    counted[-2:], counted[:, -1] = False, False
    x, other = tokens(), tokens()
    other[-2:], other[:, -1] = 1e3, -1e3
    found = [run(norm, start(norm, 2), one, domain, counted) for one in (x, other)]
    np.testing.assert_array_equal(found[0][0][counted], found[1][0][counted])
    for k in ("mean", "var", "seen"):
        np.testing.assert_array_equal(found[0][1][k], found[1][1][k])
    assert found[0][1]["seen"].sum() == B - 2
    alone, _ = run(norm, start(norm, 2), x[:-2, :-1], domain[:-2], counted[:-2, :-1])
    np.testing.assert_allclose(found[0][0][:-2, :-1], alone, atol=1e-12)


def test_an_unknown_domain_takes_the_moments_of_all_cells_seen():
    norm = BatchNorm(2, True, momentum=1.0)  # running statistics are the last batch's
    variables, domain, x = start(norm, 2), (np.arange(B) >= 3).astype(int), tokens()
    _, stats = run(norm, variables, x, domain, everything())
    made, _ = run(norm, {**variables, "batch_stats": stats}, x, np.full(B, -1), everything(), False)
    share, moments = np.array([3, 9]) / B, [x[domain == k].reshape(-1, D) for k in range(2)]
    mean = share @ [m.mean(0) for m in moments]
    square = share @ [m.var(0, ddof=1) + m.mean(0) ** 2 for m in moments]
    scale, bias = (share @ variables["params"][k] for k in ("scale", "bias"))
    want = (x - mean) / np.sqrt(square - mean**2 + 1e-5) * scale + bias
    np.testing.assert_allclose(made, want, atol=1e-9)


def test_unknown_cells_are_a_domain_of_their_own_in_training():
    norm, x = BatchNorm(2, False), tokens()
    domain = np.where(np.arange(B) < 6, -1, np.arange(B) % 2)
    made, stats = run(norm, start(norm, 2), x, domain, everything())
    np.testing.assert_allclose(made[:6].mean((0, 1)), 0, atol=1e-12)
    _, alone = run(norm, start(norm, 2), x[6:], domain[6:], everything()[6:])
    np.testing.assert_allclose(stats["mean"], alone["mean"], atol=1e-12)
    assert stats["seen"].sum() == 6


def test_gradients_are_torchs():
    """Through mean and variance of a mixed batch."""
    norm, x, domain = BatchNorm(2, True), tokens(), np.arange(B) % 2
    variables, weight = start(norm, 2), tokens(5)

    def loss(x):
        made, _ = norm.apply(
            variables, x, jnp.asarray(domain), everything(), train=True, mutable=["batch_stats"]
        )
        return (made * weight).sum()

    with jax.enable_x64(True):
        found = np.asarray(jax.grad(loss)(jnp.asarray(x)))
    for k in range(2):
        mine = torch.tensor(x[domain == k], requires_grad=True)
        made = torch_norm(variables, k)(mine.transpose(1, 2)).transpose(1, 2)
        (made * torch.tensor(weight[domain == k])).sum().backward()
        np.testing.assert_allclose(found[domain == k], mine.grad, atol=1e-9)


def test_an_unseen_model_normalises_by_one():
    norm, x = BatchNorm(1, False), tokens()
    made, _ = run(norm, start(norm, 1), x, np.zeros(B, int), everything(), train=False)
    np.testing.assert_allclose(made, x / np.sqrt(1 + 1e-5), atol=1e-12)
