"""The reference of scFormer itself: hand numbers, torch's layers, symmetries, its checkpoint."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests.conftest import ROOT  # noqa: E402
from tests.reference import scformer  # noqa: E402
from tests.reference import scformer_parts as parts  # noqa: E402
from tests.reference.test_bmfm_reference import doubles, drawn, leaky  # noqa: E402

V, D, HEADS, FFN = 9, 8, 2, 12
CLS = V + 1
CHECKPOINT = (
    Path(os.environ.get("JAXCELL_DATA", ROOT.parent / "shared" / "data"))
    / "checkpoints"
    / "scformer_pbmc"
)


def numbers(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def noise(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def batch():
    """Four cells of CLS and 6, 6, 3 and 1 genes: ids, values, length, domain, batch label."""
    random = np.random.default_rng(2)
    ids = np.stack([np.r_[CLS, random.permutation(V)[:6]] for _ in range(4)])
    values = np.c_[np.zeros(4), random.integers(0, 51, (4, 6))].astype(float)
    values[:, 2] = -1
    return ids, values, np.array([7, 7, 4, 2]), np.array([0, 2, 0, 2]), np.array([0, 2, 0, 1])


def model_of(seed=0, **keywords):
    return drawn(scformer.Scformer(V + 3, D, HEADS, 2, FFN, **keywords), seed)


# Embeddings.


def test_embeddings_by_hand():
    genes, values = drawn(parts.GeneEncoder(V, D)), drawn(parts.ContinuousValues(D, clamp=20.0))
    p, x = numbers(genes), doubles(-1, 0, 3, 20, 700)
    want = layer_norm(p["embedding.weight"][[4, 2]], p["enc_norm.weight"], p["enc_norm.bias"])
    np.testing.assert_allclose(genes(torch.tensor([4, 2])).detach(), want, atol=1e-12)
    p, clamped = numbers(values), np.minimum(x.numpy(), 20)[:, None]
    hidden = np.maximum(clamped * p["linear1.weight"][:, 0] + p["linear1.bias"], 0)
    out = hidden @ p["linear2.weight"].T + p["linear2.bias"]
    want = layer_norm(out, p["norm.weight"], p["norm.bias"])
    np.testing.assert_allclose(values(x).detach(), want, atol=1e-12)
    assert not np.allclose(want[0], want[1])  # no lower clamp: a mask is not a zero


def test_shown_values():
    values = np.array([[-2.0, 5, 0, -4, -3]])  # 3 specials; −4 is a hidden value
    assert scformer.shown(values, 3, 0, -1).tolist() == [[0, 5, 0, -1, 0]]
    assert scformer.shown(values, 3, 0, 52).tolist() == [[0, 5, 0, 52, 0]]


# Norms.


def test_domain_norm_by_hand():
    """Domain 0: the values 1, 3, 8 of two cells; domain 1: 10, 20; domain 2: none."""
    norm = parts.DomainNorm(3, 1).double().train()
    x = doubles([1, 3, 99], [10, 20, 99], [8, 99, 99], [50, 60, 70])[..., None]
    valid = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    got = norm(x, valid, torch.tensor([0, 1, 0, 1]))[..., 0]
    deviation = np.sqrt(26 / 3 + 1e-5)
    other = 5 / np.sqrt(25 + 1e-5)
    want = [[-3 / deviation, -1 / deviation, 0], [-other, other, 0]]
    np.testing.assert_allclose(got[:2], want, atol=1e-12)
    np.testing.assert_allclose(got[2:], [[4 / deviation, 0, 0], [0, 0, 0]], atol=1e-12)
    # Running: 0.9 · (0, 1) + 0.1 · (mean, unbiased variance); absent domains as they were.
    means = [float(bn.running_mean) for bn in norm.bns]
    variances = [float(bn.running_var) for bn in norm.bns]
    np.testing.assert_allclose(means, [0.4, 1.5, 0], atol=1e-12)
    np.testing.assert_allclose(variances, [0.9 + 1.3, 0.9 + 5, 1], atol=1e-12)
    assert norm.seen.tolist() == [2, 1, 0]

    norm.eval()
    domain = torch.tensor([1, -1, 2, 0])
    got = norm(x, torch.ones(4, 3).bool(), domain)[..., 0]
    mean = (2 * 0.4 + 1.5) / 3
    variance = (2 * (2.2 + 0.4**2) + 5.9 + 1.5**2) / 3 - mean**2
    for row, (m, v) in enumerate([(1.5, 5.9), (mean, variance), (0, 1), (0.4, 2.2)]):
        np.testing.assert_allclose(got[row], (x[row, :, 0] - m) / np.sqrt(v + 1e-5), atol=1e-12)
    assert norm.seen.tolist() == [2, 1, 0]
    assert means == [float(bn.running_mean) for bn in norm.bns]


def test_pooled_statistics_are_those_of_all_cells():
    norm = parts.DomainNorm(2, D, affine=True).double()
    assert [float(torch.as_tensor(a)) for a in norm.pooled()] == [0, 1, 1, 0]
    few, many = noise(10, D), 3 * noise(30, D, seed=1) + 2
    for bn, cells in zip(norm.bns, (few, many), strict=True):
        bn.running_mean, bn.running_var = cells.mean(0), cells.var(0, unbiased=False)
    norm.seen += torch.tensor([10, 30])
    nn.init.constant_(norm.bns[1].weight, 5.0)
    mean, variance, weight, bias = norm.pooled()
    both = torch.cat([few, many])
    np.testing.assert_allclose(mean, both.mean(0), atol=1e-12)
    np.testing.assert_allclose(variance, both.var(0, unbiased=False), atol=1e-12)
    assert weight.tolist() == [4.0] * D
    assert bias.tolist() == [0.0] * D


@pytest.mark.parametrize("affine", [False, True])
def test_norms_of_one_domain_are_torchs(affine):
    """BatchNorm1d over [B, d, T] without padding: three batches, then evaluation."""
    theirs = drawn(nn.BatchNorm1d(D, affine=affine)).train()
    plain, domain = parts.PlainNorm(D).double(), parts.DomainNorm(4, D, affine).double()
    for bn in (plain, domain.bns[3]):
        bn.load_state_dict(theirs.state_dict(), strict=bn is not plain)
    for step in range(4):
        train = step < 3
        for module in (theirs, plain, domain):
            module.train(train)
        x, everything = noise(5, 6, D, seed=step) * 2 + 1, torch.ones(5, 6).bool()
        want = theirs(x.mT).mT.detach()
        for got in (plain(x, everything), domain(x, everything, torch.tensor([3] * 5))):
            np.testing.assert_allclose(got.detach(), want, atol=1e-12)
    for bn in (plain, domain.bns[3]):
        assert bn.num_batches_tracked == theirs.num_batches_tracked == 3
        for name in ("running_mean", "running_var"):
            np.testing.assert_allclose(getattr(bn, name), getattr(theirs, name), atol=1e-13)
    assert domain.seen.tolist() == [0, 0, 0, 15]


def test_mixed_batches_are_their_domains_apart():
    x, valid = noise(6, 5, D), torch.arange(5) < torch.tensor([[5], [3], [1], [5], [2], [4]])
    domain = torch.tensor([1, 0, 1, -1, 0, 1])
    mixed, apart = (parts.DomainNorm(2, D).double().train() for _ in range(2))
    got, want = mixed(x, valid, domain), torch.zeros_like(x)
    for k in (0, 1):
        want += apart(x, valid & (domain == k)[:, None], domain)
    want[3] = x[3] / np.sqrt(1 + 1e-5)  # of no domain: the pooled statistics before the batch
    np.testing.assert_allclose(got, want, atol=1e-12)
    for a, b in zip(mixed.buffers(), apart.buffers(), strict=True):
        np.testing.assert_array_equal(a, b)


# Encoder and pools.


def numpy_layer(x, p, allowed):
    """One post-norm layer of x [T, d]; allowed bool [T, T]."""
    q, k, v = np.split(x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"], 3, -1)
    heads, size = [], D // HEADS
    for i in range(HEADS):
        rows = slice(i * size, (i + 1) * size)
        scores = np.where(allowed, q[:, rows] @ k[:, rows].T / np.sqrt(size), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, rows])
    out = np.concatenate(heads, -1) @ p["self_attn.out_proj.weight"].T
    x = layer_norm(x + out + p["self_attn.out_proj.bias"], p["norm1.weight"], p["norm1.bias"])
    hidden = np.maximum(x @ p["linear1.weight"].T + p["linear1.bias"], 0)
    x = x + hidden @ p["linear2.weight"].T + p["linear2.bias"]
    return layer_norm(x, p["norm2.weight"], p["norm2.bias"])


@pytest.mark.parametrize("causal", [False, True])
def test_encoder_by_numpy(causal):
    """In evaluation without gradients as well, where torch has another path; padding too."""
    encoder = drawn(parts.PostNormEncoder(D, HEADS, 2, FFN, causal))
    x, length = noise(3, 5, D), torch.tensor([5, 3, 0])
    with torch.no_grad():
        got = encoder(x, length)
    assert (got[1, 3:].abs().sum(-1) > 0).all()
    np.testing.assert_allclose(got, encoder.train()(x, length).detach(), atol=1e-12)
    for row, n in enumerate((5, 3, 1)):
        allowed = np.broadcast_to(np.arange(5) < n, (5, 5))
        allowed = np.tril(allowed) if causal else allowed
        want = x[row].numpy()
        for layer in encoder.layers:
            want = numpy_layer(want, numbers(layer), allowed)
        np.testing.assert_allclose(got[row], want, atol=1e-11)


def test_pools_by_hand():
    x, valid = doubles([3, 0], [1, 4], [7, 7])[None], torch.tensor([[True, True, False]])
    got = parts.weighted_pool(x, doubles(1, 3, 9)[None], valid)
    np.testing.assert_allclose(got, [[6 / np.sqrt(180), 12 / np.sqrt(180)]], atol=1e-12)
    assert parts.average_pool(x, valid).tolist() == [[2, 2]]


# Heads.


def test_expression_decoder_by_hand():
    decoder, x = drawn(parts.ExprDecoder(D, 6, outputs=3, zero=True)), noise(2, 4, D)
    p, outputs = numbers(decoder), []
    for name in ("fc", "zero_logit"):
        h = x.numpy()
        for i in (0, 2, 4):
            h = (leaky(h) if i else h) @ p[f"{name}.{i}.weight"].T + p[f"{name}.{i}.bias"]
        outputs.append(h)
    got = decoder(x)
    np.testing.assert_allclose(got[0].detach(), outputs[0], atol=1e-12)
    np.testing.assert_allclose(got[1].detach(), outputs[1][..., 0], atol=1e-12)
    assert decoder(x)[0].shape == (2, 4, 3)
    prediction, zero = drawn(parts.ExprDecoder(D, 6))(x)
    assert prediction.shape == (2, 4)
    assert zero is None


@pytest.mark.parametrize("style", ["inner product", "concat query", "sum query"])
def test_mvc_by_hand(style):
    decoder = drawn(parts.MvcDecoder(6, D, style, outputs=3, zero=True))
    cell, genes = noise(2, 6), noise(2, 4, D, seed=1)
    p, c = numbers(decoder), cell.numpy()[:, None]
    q = sigmoid(genes.numpy() @ p["gene2query.weight"].T + p["gene2query.bias"])
    if style == "inner product":
        logits = np.einsum("btd,bd,kd->btk", q @ p["W.weight"].T, cell.numpy(), p["U.weight"])
        logits += p["U.bias"]
        zero = ((q @ p["W_zero_logit.weight"].T + p["W_zero_logit.bias"]) * c).sum(-1)
    else:
        c = np.broadcast_to(c, (2, 4, 6))
        joined = np.concatenate([c, q], -1) if style == "concat query" else c + q
        h = joined @ p["fc1.weight"].T + p["fc1.bias"]
        h = np.where(h > 0, h, p["hidden_activation.weight"] * h)
        logits = h @ p["fc2.weight"].T + p["fc2.bias"]
        zero = (h @ p["zero_logit.weight"].T + p["zero_logit.bias"])[..., 0]
    got = decoder(cell, genes)
    np.testing.assert_allclose(got[0].detach(), logits, atol=1e-11)
    np.testing.assert_allclose(got[1].detach(), zero, atol=1e-11)
    assert parts.MvcDecoder(6, D, style).double()(cell, genes)[1] is None


def test_mvc_of_many_outputs_extends_that_of_one():
    many, single = (parts.MvcDecoder(6, D, "inner product", n).double() for n in (2, 1))
    single.load_state_dict(many.state_dict(), strict=False)
    many.U.weight.data, many.U.bias.data = torch.ones_like(many.U.weight), doubles(0, 5)
    cell, genes = noise(2, 6), noise(2, 4, D, seed=1)
    want = single(cell, genes)[0].detach()
    np.testing.assert_allclose(many(cell, genes)[0].detach(), np.stack([want, want + 5], -1))


@pytest.mark.parametrize("style", ["inner product", "sum query"])
def test_detached_mvc_spares_the_genes(style):
    genes, cell = noise(1, 4, D).requires_grad_(), noise(1, D, seed=1).requires_grad_()
    for detach in (False, True):
        decoder = drawn(parts.MvcDecoder(D, D, style, detach=detach))
        found = torch.autograd.grad(decoder(cell, genes)[0].sum(), [genes, cell], allow_unused=True)
        assert (found[0] is None) == detach
        assert found[1].abs().sum() > 0


def test_classifier_and_adversary_by_hand():
    x = noise(3, D).requires_grad_()
    for activation in (nn.ReLU, nn.LeakyReLU):
        plain = drawn(parts.Classifier(D, 5, 3, activation))
        h, p = x.detach().numpy(), numbers(plain)
        for i in (0, 3):
            h = h @ p[f"_decoder.{i}.weight"].T + p[f"_decoder.{i}.bias"]
            h = leaky(h) if activation is nn.LeakyReLU else np.maximum(h, 0)
            h = layer_norm(h, p[f"_decoder.{i + 2}.weight"], p[f"_decoder.{i + 2}.bias"])
        want = h @ p["out_layer.weight"].T + p["out_layer.bias"]
        np.testing.assert_allclose(plain(x).detach(), want, atol=1e-11)
        reverse = drawn(parts.Classifier(D, 5, 3, activation, reversal=0.25))
        np.testing.assert_array_equal(reverse(x).detach(), plain(x).detach())
        gradients = [torch.autograd.grad(f(x)[:, 0].sum(), x)[0] for f in (plain, reverse)]
        np.testing.assert_allclose(gradients[1], -0.25 * gradients[0], atol=1e-13)
    assert len(parts.Classifier(D, 5, 1)._decoder) == 0


# The model.

WHOLE = dict(
    norm="domain", domains=3, zero=True, mvc="inner product", classes=4, batches=3, conditions=4
)


def test_the_model_is_its_parts():
    ids, values, length, domain, label = batch()
    flags = (ids == 3).astype(int)
    model = model_of(**WHOLE, flags=2, affine=True)
    got = model(ids, values, length, domain, label, train=True, flags=flags)
    valid = torch.arange(7) < torch.tensor(length)[:, None]
    clean = lambda a: torch.where(valid, torch.tensor(a), 0)
    gene, value = model.encoder(clean(ids)), model.value_encoder(clean(values))
    x = gene + value + model.flag_encoder(clean(flags))
    x = model.transformer_encoder(model.dsbn(x, valid, torch.tensor(domain)), torch.tensor(length))
    labels = model.batch_encoder(torch.tensor(label))
    cell, wide = x[:, 0], torch.cat([x, labels[:, None].expand(-1, 7, -1)], -1)
    mvc = model.mvc_decoder(torch.cat([cell, labels], -1), gene)
    want = {"gene": gene, "value": value, "tokens": x, "cell": cell, "mvc": mvc[0]}
    want |= {"mvc_zero": mvc[1], "mgm": model.decoder(wide)[0], "mgm_zero": model.decoder(wide)[1]}
    want |= {"cls": model.cls_decoder(cell), "dar": model.grad_reverse_discriminator(cell)}
    assert got.keys() == want.keys() | {"embedded"}
    for name, expected in want.items():
        np.testing.assert_allclose(got[name].detach(), expected.detach(), atol=1e-12)
    unknown = model(ids, values, length, domain, label * 0 - 1, flags=flags)["mgm"]
    last = model(ids, values, length, domain, label * 0 + 3, flags=flags)["mgm"]
    np.testing.assert_array_equal(unknown.detach(), last.detach())


@pytest.mark.parametrize("pool", ["cls", "mean", "avg-pool", "weighted"])
def test_order_and_padding_do_not_matter(pool):
    """Tokens in another order, more and other padding, two rows that only fill the batch up."""
    inputs, random = batch(), np.random.default_rng(5)
    models = [model_of(**WHOLE, pool=pool, vocabulary=V) for _ in range(2)]
    want = models[0](*inputs, train=True)
    orders = [np.r_[0, 1 + random.permutation(n - 1), n:9] for n in inputs[2]]
    more = [np.pad(a, ((0, 0), (0, 2)), constant_values=4) for a in inputs[:2]]
    more = [np.stack([row[o] for row, o in zip(a, orders, strict=True)]) for a in more]
    more[1][:, 7:], more[0][2, 4:] = 700, 0
    filled = [np.concatenate([a, a[:2]]) for a in (*more, *inputs[2:])]
    filled[2][4] = 0
    got = models[1](*filled, train=True, real=np.arange(6) < 4)
    for name, expected in want.items():
        for row, (order, n) in enumerate(zip(orders, inputs[2], strict=True)):
            found, wanted = got[name][row].detach(), expected[row].detach()
            if name not in ("cell", "cls", "dar"):
                found, wanted = found[:n], wanted[order[:n]]
            np.testing.assert_allclose(found, wanted, atol=1e-10, err_msg=name)
    for a, b in zip(models[0].buffers(), models[1].buffers(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_codes_weigh_nothing_in_the_weighted_pool():
    ids, values, length, _, _ = batch()
    model, valid = model_of(pool="weighted"), torch.arange(7) < torch.tensor(length)[:, None]
    shown = torch.tensor(values)
    for weights, given in ((shown * (shown > 0), None), (shown + 3, values + 3)):
        got = model(ids, values, length, weights=given)
        want = parts.weighted_pool(got["tokens"], weights, valid)
        np.testing.assert_allclose(got["cell"].detach(), want.detach(), atol=1e-12)


def test_cells_are_independent_in_evaluation():
    inputs, model = batch(), model_of(**WHOLE)
    model(*inputs, train=True)
    together = model(*inputs)
    for row in range(4):
        alone = model(*(a[row : row + 1] for a in inputs))
        for name, outputs in together.items():
            np.testing.assert_allclose(alone[name][0].detach(), outputs[row].detach(), atol=1e-11)


def test_category_style_and_plain_norm():
    ids, values, length, _, _ = batch()
    model = model_of(values=53, norm="batch", outputs=51)
    assert model.value_encoder.embedding.weight.shape == (53, D)
    got = model(ids, scformer.shown(values, 0, 0, 52), length, train=True)
    valid = torch.arange(7) < torch.tensor(length)[:, None]
    tokens = (got["gene"] + got["value"])[valid].detach().numpy()
    scaled = (tokens - tokens.mean(0)) / np.sqrt(tokens.var(0) + 1e-5)
    want = scaled * model.bn.weight.detach().numpy() + model.bn.bias.detach().numpy()
    np.testing.assert_allclose(got["embedded"][valid].detach(), want, atol=1e-11)
    assert got["mgm"].shape == (4, 7, 51)


def test_parameters_have_the_published_names():
    """Section C5 of SYSTEMS.md, with all options on."""
    model = model_of(**WHOLE, affine=True)
    norm, linear = ("weight", "bias"), ("weight", "bias")
    groups = {
        "encoder": {"embedding": ("weight",), "enc_norm": norm},
        "batch_encoder": {"embedding": ("weight",), "enc_norm": norm},
        "value_encoder": {"linear1": linear, "linear2": linear, "norm": norm},
        "decoder": {f"{name}.{i}": linear for name in ("fc", "zero_logit") for i in (0, 2, 4)},
        "mvc_decoder": {"gene2query": linear, "W": ("weight",), "W_zero_logit": linear},
    }
    stack = {f"_decoder.{i}": linear for i in (0, 2, 3, 5)} | {"out_layer": linear}
    groups |= {"cls_decoder": stack, "grad_reverse_discriminator": stack}
    statistics = (*norm, "running_mean", "running_var", "num_batches_tracked")
    groups["dsbn"] = {f"bns.{k}": statistics for k in range(3)}
    block = {
        "self_attn": ("in_proj_weight", "in_proj_bias"),
        "self_attn.out_proj": linear,
        **dict.fromkeys(("linear1", "linear2", "norm1", "norm2"), linear),
    }
    groups |= {f"transformer_encoder.layers.{i}": block for i in range(2)}
    names = {
        f"{g}.{m}.{n}" for g, modules in groups.items() for m, ns in modules.items() for n in ns
    }
    assert set(model.state_dict()) == names
    assert set(scformer.listed(model)) == names | {"dsbn.seen"}
    found = scformer.listed(model)
    assert found["decoder.fc.0.weight"].shape == (D, 2 * D)
    assert found["mvc_decoder.W.weight"].shape == (2 * D, D)
    assert set(model_of(norm="batch").bn.state_dict()) == set(statistics)
    query = set(model_of(mvc="concat query").mvc_decoder.state_dict())
    parts_of = {f"{name}.{kind}" for name in ("gene2query", "fc1", "fc2") for kind in linear}
    assert query == parts_of | {"hidden_activation.weight"}


@pytest.mark.data
@pytest.mark.skipif(not CHECKPOINT.is_dir(), reason=f"no {CHECKPOINT}; set JAXCELL_DATA")
def test_the_published_checkpoint():
    """All its tensors and no others; its stored outputs at real tokens."""
    tensors = torch.load(CHECKPOINT / "best_model.pt", map_location="cpu", weights_only=True)
    vocabulary = json.loads((CHECKPOINT / "vocab.json").read_text())
    args = json.loads((CHECKPOINT / "args.json").read_text())
    classes = len(tensors["cls_decoder.out_layer.bias"])
    model = scformer.Scformer(
        len(vocabulary),
        args["embsize"],
        args["nheads"],
        args["nlayers"],
        args["d_hid"],
        decoder="linear",
        classes=classes,
        class_layers=args["n_layers_cls"],
    )
    model.load_state_dict(tensors)
    stored = np.load(CHECKPOINT / "ref_outputs.npz")
    padding = stored["pad_mask"]
    assert padding.any()
    length = (~padding).sum(1)
    assert (padding == (np.arange(padding.shape[1]) >= length[:, None])).all()
    outputs = model(stored["ids"], stored["values"], length)
    names = {"gene": "gene_embs", "value": "value_embs", "tokens": "hidden", "mgm": "mlm_output"}
    for ours, theirs in names.items():
        found, wanted = outputs[ours].detach().numpy(), stored[theirs]
        np.testing.assert_allclose(found[~padding], wanted[~padding], atol=1e-5, err_msg=ours)
    for ours, theirs in {"cls": "cls_output", "cell": "cell_emb"}.items():
        np.testing.assert_allclose(outputs[ours].detach(), stored[theirs], atol=1e-5)
