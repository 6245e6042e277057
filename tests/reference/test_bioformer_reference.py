"""The references of BioFormer and BioFormers themselves: hand numbers, symmetries, what is seen."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.reference import bioformer, bioformers  # noqa: E402
from tests.reference.test_bmfm_reference import drawn  # noqa: E402
from tests.reference.test_scformer_reference import layer_norm, numbers  # noqa: E402

V, D, HEADS, FFN = 9, 8, 2, 12
CLS = V


def batch():
    """Three cells of CLS and 6, 6 and 3 genes: ids, bins, length, live; one zero was masked."""
    random = np.random.default_rng(3)
    ids = np.stack([np.r_[CLS, random.permutation(V)[:6]] for _ in range(3)])
    bins = np.c_[[-1] * 3, random.integers(0, 4, (3, 6))].astype(float)
    live = bins > 0
    bins[:, 3], live[:, 3] = -2, [True, True, False]  # hidden values, two of them not of a zero
    return ids, bins, np.array([7, 7, 4]), live


def bioformer_of(**keywords):
    return drawn(bioformer.Bioformer(V, D, HEADS, 2, FFN, 3, bins=6, **keywords))


def bioformers_of(**keywords):
    return drawn(bioformers.Bioformers(V + 3, D, HEADS, 2, FFN, 5, **keywords))


# BioFormer.


@pytest.mark.parametrize("cell_types", [0, 4])
def test_bioformer_by_hand(cell_types):
    ids, bins, length, live = batch()
    model, study = bioformer_of(cell_types=cell_types), np.array([2, 0, -1])
    got = model(ids, bins, length, live, study, study if cell_types else None)
    p = numbers(model)
    x = np.empty((3, 7, D))
    for cell in range(3):
        for token in range(7):
            gene, shown = ids[cell, token], int(max(bins[cell, token], 0))
            x[cell, token] = p["cls"]
            if token:
                x[cell, token] = (
                    p["gene_embedding.weight"][gene] + p["value_embedding.weight"][shown]
                )
            x[cell, token] += p["study_embedding.weight"][[2, 0, 3][cell]]
            if cell_types:
                x[cell, token] += p["cell_type_embedding.weight"][[2, 0, 4][cell]]
    x = layer_norm(x, p["norm.weight"], p["norm.bias"])
    x[:, 1:][~live[:, 1:]] = 0
    valid = np.arange(7) < length[:, None]
    np.testing.assert_allclose(got["embedded"].detach()[valid], x[valid], atol=1e-12)
    tokens = model.transformer(torch.tensor(x), torch.tensor(length)).detach().numpy()
    np.testing.assert_allclose(got["tokens"].detach()[valid], tokens[valid], atol=1e-11)
    want = {
        "mlm": tokens @ p["mlm_head.weight"].T + p["mlm_head.bias"],
        "regression": (tokens @ p["cont_head.weight"].T + p["cont_head.bias"])[..., 0],
        "cell": tokens[:, 0],
        "study": tokens[:, 0] @ p["adv_head.weight"].T + p["adv_head.bias"],
    }
    for name, expected in want.items():
        where = valid if name in ("mlm", "regression") else slice(None)
        np.testing.assert_allclose(got[name].detach()[where], expected[where], atol=1e-11)


def test_zero_tokens_are_zero_vectors_and_still_keys():
    ids, bins, length, live = batch()
    model, study = bioformer_of(), np.array([2, 0, 1])
    got = model(ids, bins, length, live, study)
    dead, valid = ~live & (np.arange(7) > 0), np.arange(7) < length[:, None]
    assert (got["embedded"][dead] == 0).all()
    assert (got["embedded"][~dead & valid].abs().sum(-1) > 0).all()  # CLS and hidden ones too
    # What a dead token is does not show, but it does show whether it is there.
    other = np.where(dead, (ids + 1) % V, ids)
    np.testing.assert_array_equal(
        model(other, bins, length, live, study)["cell"].detach(), got["cell"].detach()
    )
    cell = np.flatnonzero(dead[:2].any(1))[0]
    token = np.flatnonzero(dead[cell])[0]
    keep = np.delete(np.arange(7), token)
    without = model(
        *(a[[cell]][:, keep] for a in (ids, bins)),
        np.array([6]),
        live[[cell]][:, keep],
        study[[cell]],
    )["cell"]
    assert (without[0] - got["cell"][cell]).abs().max() > 1e-3


def test_hidden_is_bin_zero_and_not_a_zero():
    ids, bins, length, live = batch()
    model, study = bioformer_of(), np.array([2, 0, 1])
    got = model(ids, bins, length, live, study)["tokens"]
    zero = model(ids, np.where(bins < 0, 0, bins), length, live, study)["tokens"]
    np.testing.assert_array_equal(got.detach(), zero.detach())
    known = live.copy()
    known[:, 3] = False
    dead = model(ids, bins, length, known, study)["tokens"]
    assert (dead[:2] - got[:2]).abs().max() > 1e-3
    np.testing.assert_array_equal(dead[2].detach(), got[2].detach())


def test_bioformer_ignores_order_and_padding():
    ids, bins, length, live = batch()
    model, study = bioformer_of(), np.array([2, 0, 1])
    want = model(ids, bins, length, live, study)
    order = np.array([0, 2, 3, 1, 5, 6, 4])
    other = [a[:, order] for a in (ids, bins)]
    other[0][2, 4:], other[1][2, 4:] = 0, 5
    got = model(*other, length, live[:, order], study)
    for name in ("cell", "study"):
        np.testing.assert_allclose(got[name].detach(), want[name].detach(), atol=1e-11)
    tokens = want["tokens"][:, order].detach()
    np.testing.assert_allclose(got["tokens"][:2].detach(), tokens[:2], atol=1e-11)
    np.testing.assert_allclose(got["tokens"][2, :4].detach(), tokens[2, :4], atol=1e-11)


def test_study_gradient_is_reversed():
    inputs, study = batch(), np.array([2, 0, 1])
    gradients = {}
    for reversal in (1.0, 0.3, -1.0):  # −1 turns it round again: the plain gradient
        model = bioformer_of(reversal=reversal)
        model(*inputs, study)["study"][:, 0].sum().backward()
        gradients[reversal] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    for name, plain in gradients[-1.0].items():
        head = name.startswith("adv_head")
        for strength in (1.0, 0.3):
            want = plain if head else -strength * plain
            np.testing.assert_allclose(gradients[strength][name], want, atol=1e-12)
    assert gradients[1.0]["gene_embedding.weight"].abs().sum() > 0


def test_parameters_have_the_published_names():
    """Section A5 of SYSTEMS.md, its shapes, and the learned CLS."""
    block = ["self_attn.in_proj_weight", "self_attn.in_proj_bias"]
    modules = ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2")
    block += [f"{m}.{kind}" for m in modules for kind in ("weight", "bias")]
    names = {f"transformer.layers.{i}.{name}" for i in range(2) for name in block}
    tables = ("gene", "value", "cell_type", "study")
    names |= {f"{table}_embedding.weight" for table in tables} | {"cls"}
    heads = ("mlm_head", "cont_head", "adv_head", "norm")
    names |= {f"{m}.{kind}" for m in heads for kind in ("weight", "bias")}
    shapes = {n: tuple(p.shape) for n, p in bioformer.listed(bioformer_of(cell_types=4)).items()}
    assert set(shapes) == names
    assert shapes["study_embedding.weight"] == (4, D)
    assert shapes["adv_head.weight"] == (3, D)
    assert shapes["mlm_head.weight"] == (6, D)
    plain = bioformer_of(unknown=False).study_embedding
    assert plain.weight.shape == (3, D)


# BioFormers.


def test_bioformers_are_their_parts():
    ids, bins, length, _ = batch()
    values, flags = np.where(bins == -1, 0, bins), (ids == 2).astype(int)
    valid = np.arange(7) < length[:, None]
    for causal in (False, True):
        model = bioformers_of(causal=causal, flags=2)
        got = model(ids, values, length, flags)
        x = model.encoder(torch.tensor(ids)) + model.value_encoder(torch.tensor(values))
        x = x + model.flag_encoder(torch.tensor(flags))
        if causal:
            for cell in range(3):
                for token in range(length[cell] - 1):
                    x[cell, token] += model.query.weight[ids[cell, token + 1]]
        tokens = model.transformer_encoder(x, torch.tensor(length))
        want = {"embedded": x, "tokens": tokens, "logits": model.decoder(tokens)[0]}
        for name, expected in want.items():
            found = got[name].detach()[valid]
            np.testing.assert_allclose(found, expected.detach()[valid], atol=1e-11)
        last = length - 1 if causal else np.zeros(3, int)
        wanted = tokens[torch.arange(3), torch.tensor(last)].detach()
        np.testing.assert_allclose(got["cell"].detach(), wanted, atol=1e-11)
        assert got["logits"].shape == (3, 7, 5)


def test_causal_tokens_see_the_past_and_the_name_of_the_next():
    ids, bins, length, _ = batch()
    model, values = bioformers_of(causal=True), np.maximum(bins, 0)
    want = model(ids, values, length)["logits"].detach()
    for i in range(6):
        later, renamed = values.copy(), ids.copy()
        later[:2, i + 1 :] += 1
        renamed[:2, i + 2 :] = 11
        got = model(renamed, later, length)["logits"].detach()
        np.testing.assert_allclose(got[:2, : i + 1], want[:2, : i + 1], atol=1e-12)
        assert (got[:2, i + 1] - want[:2, i + 1]).abs().max() > 1e-3
        renamed[:2, i + 1] = 11
        got = model(renamed, values, length)["logits"].detach()
        assert (got[:2, i] - want[:2, i]).abs().max() > 1e-3
        cut = model(ids[:2, : i + 2], values[:2, : i + 2], np.array([i + 2] * 2))["logits"]
        np.testing.assert_allclose(cut.detach()[:, : i + 1], want[:2, : i + 1], atol=1e-12)


def test_encoder_only_ignores_order():
    ids, bins, length, _ = batch()
    model, order = bioformers_of(), np.array([0, 2, 3, 1, 5, 6, 4])
    want = model(ids[:2], bins[:2], length[:2])
    got = model(ids[:2, order], bins[:2, order], length[:2])
    np.testing.assert_allclose(got["cell"].detach(), want["cell"].detach(), atol=1e-11)
    np.testing.assert_allclose(
        got["logits"].detach(), want["logits"][:, order].detach(), atol=1e-11
    )


def test_next_targets_and_names():
    values = np.array([[0.0, 5, 6, 7], [0, 8, 9, 9], [0, 0, 0, 0]])
    target, where = bioformers.next_targets(values, np.array([4, 2, 0]))
    assert target.tolist() == [[5, 6, 7, 0], [8, 0, 0, 0], [0] * 4]
    assert where.sum(1).tolist() == [3, 1, 0]
    names = set(bioformers.listed(bioformers_of(causal=True, norms=False)))
    assert {"query.weight", "encoder.embedding.weight", "decoder.fc.4.weight"} <= names
    assert not any("norm.weight" in name for name in names)
    assert "query.weight" not in bioformers.listed(bioformers_of())
