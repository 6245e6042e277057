"""The reference of BMFM-RNA itself, against hand numbers, torch's own layers and its symmetries."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from tests.reference import bmfm, bmfm_cells  # noqa: E402
from tests.reference import bmfm_parts as parts  # noqa: E402

V, S, D, HEADS = 11, 36, 8, 2
ENCODERS = {
    "llama": lambda: parts.llama(D, 3, HEADS, hidden=12),
    "bert": lambda: parts.bert(D, 3, HEADS, hidden=12),
    "modern_bert": lambda: parts.modern_bert(D, 3, HEADS, hidden=12),
}
LABELS = {
    "cell_type": {"classes": 5, "position": 1},
    "donor": {"classes": 4, "position": 3, "reversal": 0.5},
    "sex": {"classes": 2, "mlp": True},
}


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def drawn(module, seed=0):
    """The module in float64 with every parameter drawn anew: nothing stays 0 or 1."""
    random = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        noise = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        parameter.data = 0.4 * noise + (parameter.ndim == 1)
    return module.eval()


def model_of(encoder="llama", **keywords):
    return drawn(bmfm.Bmfm(V, S, D, parts.ScaleAdapt(D, S), ENCODERS[encoder](), **keywords))


def wced_batch():
    """Three cells of 6 specials and up to 8 genes; the last positions of two are padding."""
    random, rows = np.random.default_rng(1), []
    for genes in (8, 5, 2):
        order, counts = random.permutation(V)[:genes].tolist(), random.poisson(1.0, V)
        kwargs = {"specials": bmfm_cells.WCED, "max_length": 16, "zeros": "all"}
        rows.append(bmfm_cells.sequence(order, counts, V, **kwargs))
    return tuple(np.stack([row[i] for row in rows]) for i in range(3))


# Value encoders.


def test_special_rows():
    x = doubles(-1, -2, -5, -36, 0, -0.0, 3)
    assert parts.special_rows(x, S).tolist() == [0, 1, 4, 35, 36, 36, 0]
    for bad in (-0.5, -37.0, math.nan):
        with pytest.raises(ValueError, match="values must be >= 0 or −1 … −36"):
            parts.special_rows(doubles(1, bad), S)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scale_adapt_by_hand(dtype):
    """Sines first; the product is rounded in x's dtype, where it is a hash above k = 30 or so."""
    encoder = drawn(parts.ScaleAdapt(D, S))
    weight, x = encoder.dense.weight.detach().numpy(), np.array([0.1, 2.5, 8.3], dtype)
    assert encoder.dense.bias is None
    want = []
    for value in x:
        angles = [float(value * dtype(2 * math.pi * 0.01 * 2**k)) for k in range(48)]
        waves = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        want.append(weight @ np.array(waves))
    got = encoder(torch.from_numpy(x)[None])[0]
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.detach(), want, atol=1e-12)
    np.testing.assert_allclose(encoder.basis[[0, 47]], [0.06283185307, 8.84279719e12], 1e-9)


def test_scale_adapt_rows_and_basis():
    encoder = drawn(parts.ScaleAdapt(D, S))
    assert "basis" not in dict(encoder.named_parameters())
    x = doubles(0, -1, -5, -36)
    np.testing.assert_array_equal(
        encoder(x).detach(), encoder.special.weight[[36, 0, 4, 35]].detach()
    )
    with pytest.raises(TypeError, match="floating"):
        encoder(torch.tensor([1]))

    trained = drawn(parts.ScaleAdapt(D, S, trainable=True, basis_scale=0.3, frequencies=4))
    shapes = {name: tuple(p.shape) for name, p in trained.named_parameters()}
    assert shapes == {"basis": (4,), "special.weight": (37, D), "dense.weight": (D, 8)}
    trained(doubles(0.7)).sum().backward()
    omega, weight = trained.basis.detach(), trained.dense.weight.detach().sum(0)
    want = 0.7 * (weight[:4] * torch.cos(0.7 * omega) - weight[4:] * torch.sin(0.7 * omega))
    np.testing.assert_allclose(trained.basis.grad, want, rtol=1e-12)
    torch.manual_seed(0)
    start = parts.ScaleAdapt(D, S, trainable=True, basis_scale=0.3, frequencies=4000).basis
    assert abs(start.std().item() / (2 * math.pi * 0.3) - 1) < 0.05
    assert abs(start.mean().item()) < 0.15


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def test_value_mlps_by_hand():
    x = doubles(2.5, 0, -5)
    for encoder in (drawn(parts.ValueMlp(D)), drawn(parts.ValueMlpSpecials(D, 5))):
        p = {name: value.detach().numpy() for name, value in encoder.named_parameters()}
        hidden = leaky(x.numpy()[:, None] * p["dense1.weight"][:, 0] + p["dense1.bias"])
        assert hidden.shape == (3, 128)
        specials = "special.weight" in p
        if specials:
            assert p["special.weight"].shape == (6, 128)
            hidden = leaky(np.stack([hidden[0], p["special.weight"][5], p["special.weight"][4]]))
        want = hidden @ p["dense2.weight"].T + p["dense2.bias"]
        want = want if specials else leaky(want)
        np.testing.assert_allclose(encoder(x).detach(), want, atol=1e-12)


def test_leaky_relu_meets_negative_values_twice():
    encoder = drawn(parts.ValueMlpSpecials(1, 5, hidden=1))
    tree = {
        "dense1": {"weight": [[-1]], "bias": [0]},
        "dense2": {"weight": [[1]], "bias": [0]},
        "special": {"weight": [[-1]] * 6},
    }
    bmfm.load(encoder, tree)
    np.testing.assert_allclose(encoder(doubles(3, 0)).detach()[:, 0], [-3e-4, -1e-2], rtol=1e-12)


def test_embeddings_sum_the_fields():
    embeddings = drawn(parts.Embeddings(V + S, D, parts.ValueMlp(D), {"perturbation": 2}))
    ids, values, flags = torch.tensor([[3, V]]), doubles(1.5, -4)[None], torch.tensor([[1, 0]])
    x = embeddings.genes.weight[ids] + embeddings.values(values)
    x = x + embeddings.lookups["perturbation"].weight[flags]
    centred = x - x.mean(-1, keepdim=True)
    x = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-12)
    want = x * embeddings.norm.weight + embeddings.norm.bias
    got = embeddings(ids, values, {"perturbation": flags})
    np.testing.assert_allclose(got.detach(), want.detach(), atol=1e-12)
    with pytest.raises(ValueError, match="lookups must be"):
        embeddings(ids, values, {})


# Encoders.


def test_may_attend():
    masked = torch.tensor([[False, True, True, False]] * 2)
    got = parts.may_attend(4, torch.tensor([4, 3]), masked).int().tolist()
    assert got[0] == [[1, 0, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1], [1, 0, 0, 1]]
    assert got[1][:3] == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]
    assert parts.may_attend(3, torch.tensor([2])).int().tolist() == [[[1, 1, 0]] * 3]
    with pytest.raises(ValueError, match="position 0 is masked"):
        parts.may_attend(4, torch.tensor([4, 3]), ~masked)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_torch_s(bias):
    ours, x = drawn(parts.Attention(D, HEADS, bias)), torch.randn(2, 5, D, dtype=torch.float64)
    theirs = torch.nn.MultiheadAttention(D, HEADS, bias=bias, batch_first=True).double()
    theirs.in_proj_weight.data, theirs.out_proj.weight.data = ours.qkv.weight, ours.out.weight
    if bias:
        theirs.in_proj_bias.data, theirs.out_proj.bias.data = ours.qkv.bias, ours.out.bias
    length = torch.tensor([5, 3])
    want, _ = theirs(x, x, x, key_padding_mask=torch.arange(5) >= length[:, None])
    got = ours(x, parts.may_attend(5, length))
    np.testing.assert_allclose(got.detach(), want.detach(), atol=1e-12)


def test_swiglu_width():
    widths = {384: 1024, 512: 1536, 768: 2048, 96: 256}
    assert {d: parts.swiglu_width(d) for d in widths} == widths
    assert parts.llama(96, 1, 1).blocks[0].gate.weight.shape == (256, 96)


def attend(x, p, prefix):
    """Attention of one cell without padding, by numpy: a loop over the heads."""
    qkv = x @ p[f"{prefix}.qkv.weight"].T + p.get(f"{prefix}.qkv.bias", 0)
    c, result = D // HEADS, []
    for h in range(HEADS):
        q, k, v = (qkv[:, part * D + h * c : part * D + (h + 1) * c] for part in range(3))
        scores = np.exp(q @ k.T / math.sqrt(c))
        result.append(scores / scores.sum(1, keepdims=True) @ v)
    joined = np.concatenate(result, axis=1)
    return joined @ p[f"{prefix}.out.weight"].T + p.get(f"{prefix}.out.bias", 0)


def np_gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def np_layer(x, weight, bias, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias


def np_llama(x, p):
    rms = lambda x, w: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w
    for i in range(3):
        b = f"blocks.{i}"
        x = x + attend(x if i == 0 else rms(x, p[f"{b}.norm1.weight"]), p, f"{b}.attention")
        h = rms(x, p[f"{b}.norm2.weight"])
        gate = h @ p[f"{b}.gate.weight"].T
        h = gate / (1 + np.exp(-gate)) * (h @ p[f"{b}.up.weight"].T)
        x = x + h @ p[f"{b}.down.weight"].T
    return x


def np_bert(x, p):
    for i in range(3):
        b = f"blocks.{i}"
        norm = lambda x, k, b=b: np_layer(x, p[f"{b}.{k}.weight"], p[f"{b}.{k}.bias"], 1e-12)
        x = norm(x + attend(x, p, f"{b}.attention"), "norm1")
        h = np_gelu(x @ p[f"{b}.mlp_in.weight"].T + p[f"{b}.mlp_in.bias"])
        x = norm(x + h @ p[f"{b}.mlp_out.weight"].T + p[f"{b}.mlp_out.bias"], "norm2")
    return x


def np_modern_bert(x, p):
    for i in range(3):
        b = f"blocks.{i}"
        h = x if i == 0 else np_layer(x, p[f"{b}.norm1.weight"], 0, 1e-5)
        x = x + attend(h, p, f"{b}.attention")
        h = np_layer(x, p[f"{b}.norm2.weight"], 0, 1e-5) @ p[f"{b}.mlp_in.weight"].T
        x = x + np_gelu(h[:, :12]) * h[:, 12:] @ p[f"{b}.mlp_out.weight"].T
    return np_layer(x, p["norm.weight"], 0, 1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_by_numpy(name):
    encoder, x = drawn(ENCODERS[name]()), np.random.default_rng(3).normal(0, 0.01, (4, D))
    p = {key: value.detach().numpy() for key, value in encoder.named_parameters()}
    want = {"llama": np_llama, "bert": np_bert, "modern_bert": np_modern_bert}[name](x, p)
    got = encoder(torch.from_numpy(x)[None], torch.tensor([4]))[0].detach()
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_bert_is_torch_s_post_norm_layer():
    block, x = drawn(parts.BertBlock(D, HEADS, 12)), torch.randn(2, 5, D, dtype=torch.float64)
    kwargs = {"activation": "gelu", "layer_norm_eps": 1e-12, "batch_first": True}
    theirs = torch.nn.TransformerEncoderLayer(D, HEADS, 12, dropout=0, **kwargs).double()
    names = {
        "self_attn.in_proj_": "attention.qkv.",
        "self_attn.out_proj.": "attention.out.",
        "linear1.": "mlp_in.",
        "linear2.": "mlp_out.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    state = dict(block.named_parameters())
    for a, b in names.items():
        for end in ("weight", "bias"):
            theirs.get_parameter(a + end).data = state.pop(b + end).data
    assert not state
    length = torch.tensor([5, 3])
    want = theirs(x, src_key_padding_mask=torch.arange(5) >= length[:, None])  # in training: slow
    got = block(x, parts.may_attend(5, length))
    np.testing.assert_allclose(got.detach(), want.detach(), atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_masked_tokens_are_seen_by_none_but_themselves(name):
    """Through all blocks, by the Jacobian of three tokens, of which the last two are masked."""
    encoder, x = drawn(ENCODERS[name]()), torch.randn(4, D, dtype=torch.float64)
    masked = torch.tensor([[False, True, True, True]])
    run = lambda x: encoder(x[None], torch.tensor([3]), masked)[0]
    seen = torch.autograd.functional.jacobian(run, x).abs().sum((1, 3))[:3] > 0
    assert seen.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]


# Pooling and heads.


def test_mean_pool():
    x = torch.arange(24, dtype=torch.float64).view(2, 6, 2)
    ids = torch.tensor([[V + 3, V + 1, 4, 2, V, 7], [V + 3, V + 1, 1, 1, 1, 1]])
    got = parts.mean_pool(x, ids, torch.tensor([6, 2]), V)
    assert got.tolist() == [[(4 + 6 + 10) / 3, (5 + 7 + 11) / 3], [0, 0]]


def np_transform(x, p, prefix="transform"):
    h = np_gelu(x @ p[f"{prefix}.dense.weight"].T + p[f"{prefix}.dense.bias"])
    return np_layer(h, p[f"{prefix}.norm.weight"], p[f"{prefix}.norm.bias"], 1e-12)


def test_wced_rows():
    """Row 2·gene + o of the decoder, read at position 0 alone."""
    head, x = drawn(parts.WcedHead(D, V + S)), torch.randn(2, 3, D, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in head.named_parameters()}
    rows = np_transform(x[:, 0].numpy(), p) @ p["decoder.weight"].T + p["decoder.bias"]
    for o, part in enumerate(head(x)):
        assert part.shape == (2, V + S)
        for gene in (0, 1, 7, V + S - 1):
            np.testing.assert_allclose(part[:, gene].detach(), rows[:, 2 * gene + o], atol=1e-12)


def test_token_head():
    head, x = drawn(parts.TokenHead(D)), torch.randn(2, 3, D, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in head.named_parameters()}
    h = np_transform(x.numpy(), p)
    for part, name in zip(head(x), ("regression", "is_zero"), strict=True):
        want = h @ p[f"{name}.weight"][0] + p[f"{name}.bias"]
        np.testing.assert_allclose(part.detach(), want, atol=1e-12)


def test_reversal():
    x = doubles(1, -2, 3).requires_grad_()
    y = parts.Reverse.apply(x, 0.25)
    assert torch.equal(y, x)
    (y * doubles(4, 8, 12)).sum().backward()
    assert x.grad.tolist() == [-1, -2, -3]


def test_label_heads():
    x, pooled = torch.randn(2, 4, D, dtype=torch.float64), torch.randn(2, D, dtype=torch.float64)
    plain, at = drawn(parts.LabelHead(D, 3)), drawn(parts.LabelHead(D, 3, position=2))
    linear = lambda h: h @ plain.decoder.weight.T + plain.decoder.bias
    np.testing.assert_allclose(plain(x, pooled).detach(), linear(pooled).detach(), atol=1e-12)
    np.testing.assert_allclose(at(x, pooled).detach(), linear(x[:, 2]).detach(), atol=1e-12)

    deep = drawn(parts.LabelHead(D, 3, mlp=True, dropout=0.5))
    p = {name: value.detach().numpy() for name, value in deep.named_parameters()}
    h = np_gelu(pooled.numpy() @ p["dense.weight"].T + p["dense.bias"])
    want = h @ p["decoder.weight"].T + p["decoder.bias"]
    np.testing.assert_allclose(deep(x, pooled).detach(), want, atol=1e-12)
    torch.manual_seed(0)
    assert not np.allclose(deep.train()(x, pooled).detach(), want)

    reversed_ = drawn(parts.LabelHead(D, 3, reversal=2.0))
    (a,) = torch.autograd.grad(plain(x, pooled.requires_grad_()).sum(), pooled)
    (b,) = torch.autograd.grad(reversed_(x, pooled).sum(), pooled)
    np.testing.assert_allclose(b, -2 * a, rtol=1e-12)


# The whole model.


@pytest.mark.parametrize(("task", "count"), [("wced", 43_887_218), ("mlm", 29_010_818)])
def test_parameter_count(task, count):
    with torch.device("meta"):
        values, encoder = parts.ScaleAdapt(384, 36), parts.llama(384, 12, 12)
        model = bmfm.Bmfm(19_285, 36, 384, values, encoder, task=task)
    assert sum(p.numel() for p in model.parameters()) == count
    tokens, d = 19_321, 384
    embeddings = tokens * d + 37 * d + 96 * d + 2 * d
    blocks = 12 * (4 * d * d + 3 * 1024 * d + 2 * d) - d
    decoder = 2 * tokens * (d + 1) if task == "wced" else 2 * (d + 1)
    assert count == embeddings + blocks + 2 * (d * d + d) + 2 * d + decoder


@pytest.mark.parametrize("name", ENCODERS)
def test_outputs(name):
    model = model_of(name, labels=LABELS)
    got = model(*wced_batch())
    shapes = {k: tuple(v.shape) for k, v in got.items() if k != "labels"}
    cells = {"cell": (3, D), "mean": (3, D), "pooled": (3, D)}
    wced = {"regression": (3, V + S), "is_zero": (3, V + S)}
    assert shapes == {"tokens": (3, 16, D)} | cells | wced
    x = got["tokens"]
    assert torch.equal(got["cell"], x[:, 0])
    np.testing.assert_allclose(got["mean"][1].detach(), x[1, 6:11].mean(0).detach(), atol=1e-12)
    pooled = torch.tanh(x[:, 0] @ model.pooler.dense.weight.T + model.pooler.dense.bias)
    np.testing.assert_allclose(got["pooled"].detach(), pooled.detach(), atol=1e-12)
    for label, head in model.labels.items():
        assert got["labels"][label].shape == (3, LABELS[label]["classes"])
        assert torch.equal(got["labels"][label], head(x, got["pooled"]))
    want = model.expression(x)
    assert torch.equal(got["regression"], want[0])
    assert torch.equal(got["is_zero"], want[1])


def test_other_poolings_tasks_and_fields():
    ids, values, length = wced_batch()
    mlm = model_of(task="mlm", pooler_reads="mean", lookups={"perturbation": 3})
    flags = (ids % 3).astype(np.int32)
    got = mlm(ids, values, length, perturbation=flags)
    assert got["regression"].shape == got["is_zero"].shape == (3, 16)
    assert torch.equal(got["pooled"], mlm.pooler(got["mean"]))
    other = mlm(ids, values, length, perturbation=(flags + 1) % 3)
    assert not torch.allclose(got["cell"], other["cell"], atol=1e-3)
    assert "regression" not in model_of(task=None)(ids, values, length)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_is_not_read(name):
    model, (ids, values, length) = model_of(name, labels=LABELS), wced_batch()
    whole = model(ids, values, length)
    for i, n in enumerate(length):
        alone = model(ids[i : i + 1, :n], values[i : i + 1, :n], length[i : i + 1])
        np.testing.assert_allclose(
            whole["tokens"][i, :n].detach(), alone["tokens"][0].detach(), atol=1e-11
        )
        for key in ("mean", "pooled", "regression", "is_zero"):
            np.testing.assert_allclose(whole[key][i].detach(), alone[key][0].detach(), atol=1e-11)
    behind = np.arange(16) >= length[:, None]
    rubbish = model(np.where(behind, 9999, ids), np.where(behind, np.nan, values), length)
    assert torch.equal(rubbish["pooled"], whole["pooled"])
    assert not torch.allclose(model(ids, values, length - 1)["cell"], whole["cell"], atol=1e-3)


@pytest.mark.parametrize("name", ENCODERS)
def test_order_of_genes_and_place_of_sep_do_not_matter(name):
    model, (ids, values, _) = model_of(name), wced_batch()
    length, order = np.array([14]), [0, 1, 2, 3, 4, 9, 13, 6, 5, 10, 7, 12, 8, 11]
    want = model(ids[:1, :14], values[:1, :14], length)
    got = model(ids[:1, order], values[:1, order], length)
    np.testing.assert_allclose(got["tokens"].detach(), want["tokens"][:, order].detach(), atol=1e-9)
    np.testing.assert_allclose(got["regression"].detach(), want["regression"].detach(), atol=1e-9)


def test_a_masked_value_is_seen_by_its_own_token_alone():
    model, (ids, values, length) = model_of(task="mlm"), wced_batch()
    masked = np.zeros(ids.shape, bool)
    masked[:, 7] = True
    changed, other = np.where(masked, -5.0, values), values.copy()
    other[:, 7] = 3.25
    a, b = (model(ids, v, length, masked) for v in (changed, other))
    same = (a["regression"] == b["regression"]).numpy()
    assert not same[:, 7].any()
    assert np.delete(same, 7, axis=1).all()
    free = model(ids, changed, length)["regression"]
    assert not torch.allclose(free[:, 0], a["regression"][:, 0], atol=1e-6)


def test_gradients_reach_every_parameter():
    """And of the token table the rows that are in the batch, no others; never that of PAD."""
    model, (ids, values, length) = model_of(labels=LABELS), wced_batch()
    got = model(ids, values, length)
    parts_ = [got["regression"], got["is_zero"], *got["labels"].values()]
    sum((part**2).sum() for part in parts_).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    read = {t for row, n in zip(ids, length, strict=True) for t in row[:n].tolist()}
    rows = model.embeddings.genes.weight.grad.abs().sum(1)
    assert set(rows.nonzero()[:, 0].tolist()) == read
    assert model.embeddings.values.special.weight.grad[bmfm.PAD].abs().sum() == 0


def test_load():
    source, target = model_of("bert", labels=LABELS), model_of("bert", labels=LABELS)
    flat = {name: p.detach().numpy() + 0.1 for name, p in source.named_parameters()}
    nested = {}
    for name, leaf in flat.items():
        node, *path = nested, *name.split(".")
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    for tree in (flat, nested):
        bmfm.load(target, {k: np.zeros_like(v) for k, v in flat.items()})
        bmfm.load(target, tree)
        for name, parameter in target.named_parameters():
            np.testing.assert_array_equal(parameter.detach(), flat[name])
    with pytest.raises(KeyError, match=r"encoder\.extra"):
        bmfm.load(target, flat | {"encoder.extra": np.zeros(3)})
    with pytest.raises(KeyError, match=r"pooler\.dense\.bias"):
        bmfm.load(target, {k: v for k, v in flat.items() if k != "pooler.dense.bias"})
    with pytest.raises(ValueError, match=r"pooler\.dense\.bias: \(3,\), the model has \(8,\)"):
        bmfm.load(target, flat | {"pooler.dense.bias": np.zeros(3)})


def test_first_blocks_have_no_first_norm():
    for name, encoder in ENCODERS.items():
        keys = set(dict(encoder().named_parameters()))
        assert ("blocks.0.norm1.weight" in keys) == (name == "bert")
        assert "blocks.1.norm1.weight" in keys
        assert ("norm.weight" in keys) == (name == "modern_bert")
        assert any("bias" in key for key in keys) == (name == "bert")


# Losses.


def test_normalise():
    got = bmfm.normalise([[1, 3, 0, 6], [0, 0, 0, 0]])
    want = [[math.log1p(1e4 / 11), math.log1p(3e4 / 11), 0, math.log1p(6e4 / 11)], [0] * 4]
    np.testing.assert_allclose(got, want, rtol=1e-12)
    counts = [1.0, 3.0, 0.0, 6.0]
    np.testing.assert_allclose(bmfm.normalise(counts), bmfm_cells.normalise(counts), rtol=1e-12)


def test_expression_losses_by_hand():
    labels = doubles(0, 2, -100, 1, 0)
    prediction, logits = doubles(5, 5, 5, 0.5, 5), doubles(0, 0, 9, math.log(3), math.log(4))
    # p(zero) = ½ ½ – ¾ ⅘ against 1 0 – 0 1
    want = -(2 * math.log(0.5) + math.log(0.25) + math.log(0.8)) / 4
    np.testing.assert_allclose(bmfm.is_zero_bce(logits, labels), want, rtol=1e-12)
    np.testing.assert_allclose(bmfm.mse(prediction, labels), (9 + 0.25) / 2, rtol=1e-12)
    np.testing.assert_allclose(bmfm.mae(prediction, labels), (3 + 0.5) / 2, rtol=1e-12)
    assert bmfm.combined(prediction, logits).tolist() == [5, 5, 0, 0, 0]
    empty = torch.full((5,), -100.0, dtype=torch.float64)
    for loss in (bmfm.is_zero_bce, bmfm.mse, bmfm.mae):
        assert loss(prediction, empty) == 0
    assert bmfm.mse(prediction, torch.zeros_like(empty)) == 0


def test_cross_entropy_is_torch_s():
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 3, -100, 1, 1, -100])
    for smoothing in (0.0, 0.1):
        want = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        np.testing.assert_allclose(bmfm.cross_entropy(logits, labels, smoothing), want, rtol=1e-12)
    for loss in (bmfm.cross_entropy, bmfm.focal):
        assert torch.isnan(loss(logits, torch.full((6,), -100)))


def test_focal_by_hand():
    logits = torch.log(doubles([0.25, 0.75], [0.9, 0.1], [0.5, 0.5]))
    labels = torch.tensor([0, 0, -100])
    want = -(0.75**2 * math.log(0.25) + 0.1**2 * math.log(0.9)) / 2
    np.testing.assert_allclose(bmfm.focal(logits, labels), want, rtol=1e-12)
    plain = bmfm.cross_entropy(logits, labels)
    np.testing.assert_allclose(bmfm.focal(logits, labels, gamma=0.0), plain, rtol=1e-12)
    # ε keeps a lost class finite: p = 0 gives −ln ε = 52 ln 2.
    lost = bmfm.focal(doubles([-2000, 0]), torch.tensor([0]))
    np.testing.assert_allclose(lost, 52 * math.log(2), rtol=1e-12)


def test_hce_by_hand():
    logits = torch.log(doubles([1, 2, 3], [1, 2, 3], [1, 2, 3], [5, 5, 5]))
    leaves = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]]).bool()
    want = -(math.log(5 / 6) + math.log(1 / 6) + 0) / 4  # the unknown cell counts below
    np.testing.assert_allclose(bmfm.hce(logits, leaves), want, rtol=1e-12)
    one = torch.eye(3).bool()
    np.testing.assert_allclose(
        bmfm.hce(logits[:3], one), bmfm.cross_entropy(logits[:3], torch.arange(3)), rtol=1e-12
    )
    # Where exp(z − max) is 0 for every leaf of the set, the loss is finite all the same.
    far = doubles([1000, 0, 0]).requires_grad_()
    value = bmfm.hce(far, torch.tensor([[False, True, True]]))
    value.backward()
    np.testing.assert_allclose(value.item(), 1000 - math.log(2), rtol=1e-12)
    np.testing.assert_allclose(far.grad, [[1, -0.5, -0.5]], atol=1e-12)
    unknown = doubles([1, 2, 3]).requires_grad_()
    assert bmfm.hce(unknown, torch.zeros(1, 3).bool()) == 0


def test_total():
    nan = doubles(math.nan)[0]
    losses = {"hce": doubles(2)[0], "mse": doubles(5)[0], "donor": nan}
    weights = {"hce": 1, "mse": 0.5, "donor": 0.05}
    np.testing.assert_allclose(bmfm.total(losses, weights), (2 + 2.5) / 1.5, rtol=1e-12)
    with pytest.raises(ValueError, match="losses of"):
        bmfm.total(losses, {"hce": 1})


def test_a_step_of_wced_by_finite_differences():
    """The whole sum of losses; the reversed label is left out, its gradient is none of the sum."""
    model, (ids, values, length) = model_of(labels={"sex": LABELS["sex"]}), wced_batch()
    random = np.random.default_rng(4)
    labels = torch.from_numpy(random.choice([-100, 0.0, 1.5, 2.5], (3, V + S)))
    sex = torch.tensor([1, -100, 0])

    def objective():
        got = model(ids, values, length)
        losses = {
            "mse": bmfm.mse(got["regression"], labels),
            "is_zero": bmfm.is_zero_bce(got["is_zero"], labels),
            "sex": bmfm.focal(got["labels"]["sex"], sex),
        }
        return bmfm.total(losses, {"mse": 1.0, "is_zero": 1.5, "sex": 0.05})

    objective().backward()
    step = 1e-6
    for name, parameter in model.named_parameters():
        way, kept = torch.from_numpy(random.normal(size=parameter.shape)), parameter.data.clone()
        sides = []
        for sign in (1, -1):
            parameter.data = kept + sign * step * way
            sides.append(objective().item())
        parameter.data = kept
        want = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose((parameter.grad * way).sum(), want, 1e-4, 1e-8, err_msg=name)
