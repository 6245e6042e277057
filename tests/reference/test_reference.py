"""The reference itself, against hand numbers, torch's own layers and finite differences."""

import math

import numpy as np
import pytest
import scipy.stats

torch = pytest.importorskip("torch")

from tests.reference import txfm  # noqa: E402

V, PADDED, WIDTH, LAYERS, HEADS, UPPER = 11, 16, 8, 3, 2, 1e5


def jax_params(seed=0):
    rng, d, n = np.random.default_rng(seed), WIDTH, LAYERS

    def draw(*shape):
        return rng.normal(0, 0.4, shape)

    def linear(*kernel):
        return {"kernel": draw(*kernel), "bias": draw(*kernel[:-2], kernel[-1])}

    def norm(*shape):
        return {"scale": 1 + draw(*shape), "bias": draw(*shape)}

    heads = {f"blocks_{i}": {"in": linear(d, d), "out": linear(d, d)} for i in range(4)}
    return {
        "fields": {
            "gene": {"embedding": draw(PADDED, d)},
            "specials": {"embedding": draw(1, d)},
            "combine": linear(d + 1, d),
        },
        "encoder": {
            "blocks": {
                "norm1": norm(n, d),
                "norm2": norm(n, d),
                "attention": {"qkv": linear(n, d, 3 * d), "out": linear(n, d, d)},
                "mlp": {"in": linear(n, d, 4 * d), "out": linear(n, 4 * d, d)},
                "scale1": {"scale": draw(n, d)},
                "scale2": {"scale": draw(n, d)},
            },
            "norm": norm(d),
        },
        "heads": {"expression": heads | {"rows": draw(PADDED, d), "bias": draw(PADDED)}},
    }


@pytest.fixture
def model():
    model = txfm.TxFM(V, WIDTH, LAYERS, HEADS, upper=UPPER)
    txfm.load_jax(model, jax_params())
    return model.eval()


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, (4, V)).astype(np.float64)
    measured = rng.random((4, V)) < 0.8
    panel = txfm.normalise(counts, measured, UPPER).numpy()
    ids = np.stack([np.r_[V, rng.permutation(V)[:6]] for _ in range(4)]).astype(np.int32)
    values = np.c_[np.zeros(4), np.take_along_axis(panel, ids[:, 1:], axis=1)]
    return {
        "ids": ids,
        "values": values,
        "length": np.array([7, 5, 2, 7], np.int32),
        "panel": panel,
        "measured": measured,
        "real": np.array([True, True, True, False]),
    }


def test_rectified_tanh():
    z = torch.tensor([-1, 0, 0.5, 1, 5, 10, 20, 50], dtype=torch.float64)
    want = [0, 0, 0.529049, 1.055868, 4.950118, 8.355568, 10.945777, 11.510602]
    np.testing.assert_allclose(txfm.rectified_tanh(z, UPPER), want, atol=5e-7)


def test_poisson_is_least_at_the_target():
    t = torch.tensor([0.0, 1.0, 3.7, 11.0], dtype=torch.float64)
    y = t.clone().requires_grad_()
    value = txfm.poisson_log1p(y, t)
    np.testing.assert_allclose(value.detach(), (1 - t) * t.exp(), rtol=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(value.sum(), y)[0], np.zeros(4), atol=1e-9)
    for step in (-0.1, 0.1):
        assert (txfm.poisson_log1p(t + step, t) > value).all()


def test_gradient_of_a_logit():
    """A/4e · sech²(z/4e) · (exp(ŷ) − exp(x)) above zero, nothing below (the paper's A.3)."""
    z = torch.tensor([-2.0, 0.0, 0.7, 12.0], dtype=torch.float64, requires_grad=True)
    y, x, e4 = txfm.rectified_tanh(z, UPPER), torch.full((4,), 2.0).double(), 4 * math.e
    (got,) = torch.autograd.grad(txfm.poisson_log1p(y, x).sum(), z)
    want = math.log1p(UPPER) / e4 / torch.cosh(z / e4) ** 2 * (y.exp() - x.exp()) * (z > 0)
    np.testing.assert_allclose(got, want.detach(), rtol=1e-12)


def test_negative_binomials_are_scipys():
    """And below a thousandth of a normalised count ln μ is its tangent: by hand."""
    k = torch.tensor([[0.0, 1, 7, 0, 250]] * 2).double()
    y = torch.tensor([[0.3, 2.0, 5.0, 0.002, 9.0]] * 2).double()
    log_theta = torch.tensor([-3.0, 0, 1, 4, 2]).double()
    total, logits = torch.tensor([800.0, 5e4]).double(), torch.linspace(-6, 6, 10).view(2, 5)
    mean, theta = np.expm1(y.numpy()) * total.numpy()[:, None] / UPPER, np.exp(log_theta.numpy())
    log_pmf = scipy.stats.nbinom.logpmf(k.numpy(), theta, theta / (theta + mean))
    np.testing.assert_allclose(txfm.nb(y, k, log_theta, total, UPPER), -log_pmf, 1e-10, atol=1e-13)
    pi = 1 / (1 + np.exp(-logits.double().numpy()))
    want = -np.log(pi * (k.numpy() == 0) + (1 - pi) * np.exp(log_pmf))
    got = txfm.zinb(y, k, logits.double(), log_theta, total, UPPER)
    np.testing.assert_allclose(got, want, rtol=1e-9)

    one, y = torch.ones(1, 1).double(), torch.zeros(1, 1).double().requires_grad_()
    value = txfm.nb(y, one, torch.zeros(1).double(), torch.tensor([UPPER]).double(), UPPER)
    value.backward()
    # θ = k = size = 1: -ln μ at 1e-3, its tangent's further 1 down to 0, and 2 ln(1 + 0) = 0.
    np.testing.assert_allclose(value.item(), -math.log(1e-3) + 1, rtol=1e-12)
    np.testing.assert_allclose(y.grad, 2 - 1e3, rtol=1e-12)


def test_softmax_shares_out_the_library_among_the_measured():
    z, measured = torch.randn(3, V).double(), torch.rand(3, V) < 0.6
    measured[2] = False
    y = txfm.softmax(z, UPPER, measured)
    np.testing.assert_allclose(torch.expm1(y[:2]).sum(1), UPPER, rtol=1e-12)
    assert (y[~measured] == 0).all()


def test_normalise():
    counts, measured = np.array([[1.0, 3.0, 0.0, 6.0], [0.0] * 4]), np.array([[1, 1, 1, 0]] * 2)
    want = [[math.log(25001), math.log(75001), 0, 0], [0] * 4]
    np.testing.assert_allclose(txfm.normalise(counts, measured, UPPER), want, rtol=1e-12)


@pytest.mark.parametrize(
    ("vocabulary", "width", "layers", "heads", "count"),
    [
        (44349, 384, 12, 6, 56_739_261),
        (44349, 768, 12, 12, 158_555_709),
        (44349, 1024, 24, 16, 402_680_125),
        (61600, 768, 12, 12, 185_070_496),
    ],
)
def test_parameter_count(vocabulary, width, layers, heads, count):
    with torch.device("meta"):
        model = txfm.TxFM(vocabulary, width, layers, heads)
    blocks = layers * (12 * width**2 + 15 * width)
    extra = 9 * width**2 + 13 * width
    assert sum(p.numel() for p in model.parameters()) == count
    assert count == vocabulary * width + vocabulary * (width + 1) + blocks + extra


def test_padding_does_not_change_the_cls(model, batch):
    ids, values, length = (batch[k] for k in ("ids", "values", "length"))
    whole = model.embed(ids, values, length)
    for i, n in enumerate(length):
        alone = model.embed(ids[i : i + 1, :n], values[i : i + 1, :n], length[i : i + 1])
        np.testing.assert_allclose(whole[i].detach(), alone[0].detach(), atol=1e-12)
    assert not torch.allclose(whole, model.embed(ids, values, length - 1), atol=1e-3)


def test_order_of_the_genes_does_not_matter(model, batch):
    ids, values, length = (batch[k] for k in ("ids", "values", "length"))
    order = [0, 3, 1, 6, 4, 5, 2]
    full = np.full_like(length, 7)
    want, got = model(ids, values, full), model(ids[:, order], values[:, order], full)
    np.testing.assert_allclose(got.detach(), want.detach(), atol=1e-12)


def test_attention_is_torch_s(model):
    block, x = model.blocks[1], torch.randn(2, 5, WIDTH, dtype=torch.float64)
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = block.qkv.weight, block.qkv.bias
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = block.out.weight, block.out.bias
    length = torch.tensor([5, 3])
    want, _ = theirs(x, x, x, key_padding_mask=torch.arange(5) >= length[:, None])
    got = block.attention(x, length)
    np.testing.assert_allclose(got.detach(), want.detach(), atol=1e-12)


def test_one_token_by_numpy(batch):
    """Only CLS: attention is its value projection, and the tree's kernels are [in, out]."""
    params, model = jax_params(), txfm.TxFM(V, WIDTH, LAYERS, HEADS, upper=UPPER)
    txfm.load_jax(model, params)

    def norm(x, p, *i):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
        return x * p["scale"][i] + p["bias"][i]

    def linear(x, p, *i):
        return x @ p["kernel"][i] + p["bias"][i]

    def gelu(x):
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2

    x, b = params["fields"]["specials"]["embedding"][0], params["encoder"]["blocks"]
    for i in range(LAYERS):
        v = linear(norm(x, b["norm1"], i), b["attention"]["qkv"], i)[2 * WIDTH :]
        x = x + b["scale1"]["scale"][i] * linear(v, b["attention"]["out"], i)
        h = gelu(linear(norm(x, b["norm2"], i), b["mlp"]["in"], i))
        x = x + b["scale2"]["scale"][i] * linear(h, b["mlp"]["out"], i)
    x, head = norm(x, params["encoder"]["norm"], ...), params["heads"]["expression"]
    for i in range(4):
        p = head[f"blocks_{i}"]
        x = x + linear(gelu(linear(x, p["in"])), p["out"])
    z = (head["rows"] @ x + head["bias"])[:V]
    got = model(batch["ids"][:1], batch["values"][:1], np.array([1]))[0]
    want = math.log1p(UPPER) * np.maximum(0, np.tanh(z / (4 * math.e)))
    assert (want > 0).any()
    np.testing.assert_allclose(got.detach(), want, atol=1e-12)


def test_loss_reads_measured_genes_of_real_cells(model, batch):
    y = model(batch["ids"], batch["values"], batch["length"]).detach().numpy()
    each = np.where(batch["measured"], np.exp(y) - np.exp(batch["panel"]) * y, 0).sum(1)
    got = txfm.loss(model, **batch).item()
    np.testing.assert_allclose(got, each[:3].mean(), rtol=1e-12)
    panel = np.where(batch["measured"] & batch["real"][:, None], batch["panel"], np.nan)
    assert txfm.loss(model, **batch | {"panel": panel}).item() == got
    assert txfm.loss(model, **batch | {"real": np.zeros(4, bool)}).item() == 0
    with pytest.raises(ValueError, match="raw counts"):
        txfm.loss(model, **batch | {"panel": 100 * batch["panel"]})


def test_gradients_in_the_jax_tree_are_finite_differences(model, batch):
    params, rng, eps = jax_params(), np.random.default_rng(2), 1e-6
    txfm.loss(model, **batch).backward()
    got = txfm._leaves(txfm.gradients_as_jax(model, params))
    loaded = txfm._leaves(txfm.parameters_as_jax(model, params))
    for path, leaf in txfm._leaves(params).items():
        assert got[path].shape == leaf.shape
        if len(leaf) == PADDED:
            assert not got[path][V:].any()
            assert not loaded[path][V:].any()
        index = (slice(V),) if len(leaf) == PADDED else ...
        np.testing.assert_array_equal(loaded[path][index], leaf[index])
        way, kept, values = rng.normal(size=leaf.shape), leaf.copy(), []
        for sign in (1, -1):
            leaf[...] = kept + sign * eps * way  # `leaf` is the tree's own array
            txfm.load_jax(model, params)
            values.append(txfm.loss(model, **batch).item())
        leaf[...] = kept
        want = (values[0] - values[1]) / (2 * eps)
        np.testing.assert_allclose((got[path] * way).sum(), want, rtol=1e-4, err_msg=path)


def test_load_jax_refuses_another_tree(model):
    params = jax_params()
    params["encoder"]["extra"] = np.zeros(3)
    with pytest.raises(KeyError, match="encoder/extra"):
        txfm.load_jax(model, params)
    with pytest.raises(ValueError, match="first axis"):
        txfm.load_jax(txfm.TxFM(V, WIDTH, LAYERS - 1, HEADS), jax_params())
    with pytest.raises(ValueError, match="does not fit codebook"):
        txfm.load_jax(txfm.TxFM(PADDED + 1, WIDTH, LAYERS, HEADS), jax_params())


def test_adamw_by_hand():
    model = torch.nn.Linear(1, 1).double()
    w, b, slope = model.weight.item(), model.bias.item(), 3.0
    options = {"betas": (0.9, 0.999), "eps": 1.0, "weight_decay": 0.5, "decayed": ["weight"]}
    objective = lambda step: slope * (model.weight.sum() + model.bias.sum())
    losses = txfm.adamw(model, objective, [0.1, 0.01], **options)
    first = slope * (w + b)
    for rate in (0.1, 0.01):  # a constant gradient: both corrected moments are exact
        w = w * (1 - rate * 0.5) - rate * slope / (slope + 1)
        b = b - rate * slope / (slope + 1)
    np.testing.assert_allclose([losses[0], model.weight.item(), model.bias.item()], [first, w, b])


def test_drop_path_only_in_training():
    model = txfm.TxFM(V, WIDTH, LAYERS, HEADS, drop_path=0.5)
    assert [block.drop for block in model.blocks] == [0.0, 0.25, 0.5]
    ones = torch.ones(4000, 2, 3, dtype=torch.float64)
    drawn = model.blocks[1].drop_path(ones)
    assert set(drawn.unique().tolist()) == {0.0, 1 / 0.75}
    assert (drawn == drawn[:, :1, :1]).all()
    assert abs(drawn.mean() - 1) < 0.05
    assert model.eval().blocks[1].drop_path(ones) is ones
