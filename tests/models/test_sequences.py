"""BMFM-RNA's parts against the plain-torch reference, in float64; its sizes against the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcell import config
from jaxcell.bench.synthetic import synthetic
from jaxcell.losses import total as losses
from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.training.masking import mask_tokens
from jaxcell.training.step import make_forward
from tests.conftest import config_of
from tests.reference import bmfm as reference
from tests.reference import bmfm_parts as parts

LEAVES = 6
ENCODERS = {"llama": parts.llama, "bert": parts.bert, "modern_bert": parts.modern_bert}


def torch_keys(params, c):
    """Our parameters (or their gradients) under the reference's names, in torch's layout."""
    found, fields = {}, params["fields"]
    found["embeddings.genes.weight"] = fields["gene"]["embedding"]
    value = fields["value"]
    if "dense" in value:
        found["embeddings.values.special.weight"] = value["rows"]
        found["embeddings.values.dense.weight"] = value["dense"]["kernel"].T
        if "basis" in value:
            found["embeddings.values.basis"] = value["basis"]
    else:
        found["embeddings.values.dense1.weight"] = value["in_kernel"].T
        found["embeddings.values.dense1.bias"] = value["in_bias"]
        found |= linear("embeddings.values.dense2", value["out"])
        if "rows" in value:
            found["embeddings.values.special.weight"] = value["rows"]
    if "flag" in fields:
        found["embeddings.lookups.flag.weight"] = fields["flag"]["rows"]
    if "norm" in fields:
        found |= norm("embeddings.norm", fields["norm"])
    e, i = params["encoder"], 0
    for group in [e[k] for k in ("first", "blocks") if k in e]:
        for n in range(group["norm2"]["scale"].shape[0]):
            block = jax.tree.map(lambda a, n=n: a[n], group)
            found |= block_keys(f"encoder.blocks.{i}", block, c)
            i += 1
    if "norm" in e:
        found |= norm("encoder.norm", e["norm"])
    found |= linear("pooler.dense", params["pool"]["dense"])
    for name, head in params["heads"].items():
        if name != "expression":
            found |= linear(f"labels.{name}.decoder", head["out"])
            found |= linear(f"labels.{name}.dense", head["in"]) if "in" in head else {}
            continue
        found |= linear("expression.transform.dense", head["transform"]["in"])
        found |= norm("expression.transform.norm", head["transform"]["norm"])
        if "rows" in head:
            width = c.model.width
            found["expression.decoder.weight"] = head["rows"].reshape(-1, width)
            found["expression.decoder.bias"] = head["bias"].reshape(-1)
        else:
            for k, part in enumerate(("regression", "is_zero")):
                found[f"expression.{part}.weight"] = head["parts"][k : k + 1]
                found[f"expression.{part}.bias"] = head["parts_bias"][k : k + 1]
    return {k: np.asarray(v) for k, v in found.items()}


def linear(name, p):
    found = {f"{name}.weight": p["kernel"].T}
    return found | ({f"{name}.bias": p["bias"]} if "bias" in p else {})


def norm(name, p):
    found = {f"{name}.weight": p["scale"]}
    return found | ({f"{name}.bias": p["bias"]} if "bias" in p else {})


def block_keys(name, p, c):
    width, found = c.model.width, {}
    qkv, out = p["attention"]["qkv"], p["attention"]["out"]
    found[f"{name}.attention.qkv.weight"] = qkv["kernel"].reshape(width, 3 * width).T
    found[f"{name}.attention.out.weight"] = out["kernel"].reshape(width, width).T
    if "bias" in qkv:
        found[f"{name}.attention.qkv.bias"] = qkv["bias"].reshape(-1)
        found[f"{name}.attention.out.bias"] = out["bias"]
    for k in ("norm1", "norm2"):
        found |= norm(f"{name}.{k}", p[k]) if k in p else {}
    mlp = p["mlp"]
    if c.model.encoder.activation == "swiglu":
        names = {"in": "gate", "gate": "up", "out": "down"}
        return found | {f"{name}.{b}.weight": mlp[a]["kernel"].T for a, b in names.items()}
    if c.model.encoder.activation == "geglu":
        both = np.concatenate([mlp[k]["kernel"].T for k in ("in", "gate")])
        return found | {f"{name}.mlp_in.weight": both} | linear(f"{name}.mlp_out", mlp["out"])
    return found | linear(f"{name}.mlp_in", mlp["in"]) | linear(f"{name}.mlp_out", mlp["out"])


class Case:
    """A small model of the named variants, parameters drawn at random, and a batch; float64."""

    def __init__(self, name, unknown=(), **fields):
        c = config_of(name)
        c.labels = ("cell_type", "tissue", "donor", "sex")
        c = config.settled(c)
        with c.unlocked():
            c.model.vocab_multiple = 1
            c.model.encoder.layers = 3
            c.model.dropout = c.model.encoder.dropout = 0.0
            for field, value in fields.items():
                c.model.fields.value[field] = value
            c.model.fields.flag = {"kind": "lookup", "input": "flags.perturbed", "of": 2}
            c.model.tokens = ("gene", "value", "flag")
            for k, head in enumerate(c.model.heads.values()):
                if "label" in head:
                    head.classes, head.dropout = (LEAVES if head.label == "cell_type" else 2 + k), 0
        self.c, self.model = c, CellModel(c.model)
        batch, tables = synthetic(c, self.model.rows, 5, seed=3)
        random = np.random.default_rng(4)
        batch["values"] = np.where(random.random(batch["values"].shape) < 0.3, 0, batch["values"])
        batch["values"][:, : len(c.model.front)] = [
            -1 - c.model.specials.index(name) for name in c.model.front
        ]
        batch["length"] = np.array([38, 20, 30, len(c.model.front) + 1, 34], np.int32)
        batch["length"] = np.minimum(batch["length"], batch["ids"].shape[1])
        if "draws" in batch:
            places = np.arange(batch["ids"].shape[1])[None]
            out = (places < len(c.model.front)) | (places >= batch["length"][:, None])
            batch["draws"]["values"] = np.where(out, 2, batch["draws"]["values"])
        batch["flags"] = {"perturbed": random.integers(0, 2, batch["ids"].shape).astype(np.int32)}
        batch["real"] = np.array([True, True, True, True, False])
        batch["total"] = batch["total"] + 1
        for name in batch["labels"]:
            known = np.array([1, 0, -1, 2 if name == "cell_type" else 1, 0])
            batch["labels"][name] = np.full_like(known, -1) if name in unknown else known
        # Of the cell types the first is a leaf, the second coarse, the third unknown.
        tables["leaves"]["cell_type"] = np.array(
            [[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0] * 6], bool
        )
        wide = lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x
        self.batch, self.tables = jax.tree.map(wide, batch), jax.tree.map(wide, tables)
        drawn = jax.eval_shape(self.model.init, jax.random.key(1))["params"]
        # Not so large that a focal loss meets the eps in the published one's logarithm.
        self.params = jax.tree.map(lambda a: random.normal(0, 0.2, a.shape), drawn)
        self.torch = self.reference(name)

    def reference(self, name):
        m, e = self.c.model, self.c.model.encoder
        value = dict(m.fields.value)
        kinds = {
            "periodic": lambda: parts.ScaleAdapt(m.width, 36, value.get("trainable", False)),
            "value_mlp": lambda: (
                parts.ValueMlpSpecials(m.width, 36)
                if value.get("special_rows")
                else parts.ValueMlp(m.width)
            ),
        }
        kind = {"swiglu": "llama", "geglu": "modern_bert", "gelu": "bert"}[e.activation]
        encoder = ENCODERS[kind](m.width, e.layers, e.heads, e.hidden)
        labels = {}
        for label, head in m.heads.items():
            if label != "expression":
                place = None if head.reads == "pooled" else m.front.index(head.reads)
                reversal = head.get("reverse") or None
                labels[label] = dict(classes=head.classes, position=place, reversal=reversal)
                labels[label]["mlp"] = head.get("mlp", False)
        task = "mlm" if "draw_masks" in self.c.data.transforms else "wced"
        model = reference.Bmfm(
            *(m.vocabulary, 36, m.width, kinds[value["kind"]](), encoder),
            task=task,
            labels=labels,
            lookups={"flag": 2},
            embedding_norm=m.norm == "layer",
        ).eval()
        reference.load(model, torch_keys(self.params, self.c))
        return model

    def ours(self):
        forward = make_forward(self.model, self.c)

        def loss(params, batch, tables):
            variables = {"params": params, "batch_stats": {}}
            batch, outputs, _ = forward(variables, batch, tables, train=False)
            parts = losses.total(self.c.losses, outputs, batch, tables)
            found = outputs, losses.divide(parts), batch
            return losses.weighted(self.c.losses, parts, 1.0, True), found

        (value, found), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
            self.params, self.batch, self.tables
        )
        return value, *found, grads

    def theirs(self, batch):
        """The reference's outputs and its loss of the four real cells."""
        out = self.torch(
            batch["ids"],
            batch["values"],
            batch["length"],
            batch.get("blocked"),
            flag=batch["flags"]["perturbed"],
        )
        real, labels = np.array(self.batch["real"]), dict(batch["labels"])
        if self.torch.expression.__class__ is parts.WcedHead:
            v = self.c.model.vocabulary
            target = np.where(
                np.asarray(batch["measured"])[:, :v], np.asarray(batch["panel"])[:, :v], -100
            )
            regression, is_zero = (out[k][:, :v] for k in ("regression", "is_zero"))
        else:
            target = np.where(np.asarray(batch["mask"]), np.asarray(batch["target"]), -100)
            regression, is_zero = out["regression"], out["is_zero"]
        target = torch.from_numpy(np.array(target))[real]
        found = {
            "expression": reference.mse(regression[real], target),
            "is_zero": reference.is_zero_bce(is_zero[real], target),
        }
        for name, logits in out["labels"].items():
            codes = np.array(labels[name])[real]
            if name == "cell_type":
                rows = np.where(codes[:, None] >= 0, self.tables["leaves"][name][codes], False)
                found[name] = reference.hce(logits[real], torch.from_numpy(rows))
            else:
                kind = {"focal": reference.focal, "cross_entropy": reference.cross_entropy}
                target = torch.from_numpy(np.where(codes < 0, -100, codes))
                found[name] = kind[self.c.losses[name].kind](logits[real], target)
        weights = {name: self.c.losses[name].weight for name in found}
        return out, found, reference.total(found, weights)


CASES = [
    ("bmfm_rna_wced:tiny", {}),
    ("bmfm_rna_wced:tiny", {"trainable": True}),
    ("bmfm_rna_mlm:tiny", {}),
    ("bmfm_rna_wced:bert,tiny", {"kind": "value_mlp", "special_rows": True}),
    ("bmfm_rna_mlm:modern_bert,tiny", {"kind": "value_mlp"}),
    ("bmfm_rna_wced:paper,llama,tiny", {}),
    ("bmfm_rna_mlm:tiny", {"unknown": ("donor", "sex", "cell_type")}),  # of every cell
]


@pytest.mark.parametrize(("name", "fields"), CASES)
def test_outputs_losses_and_every_gradient_in_float64(name, fields):
    with jax.enable_x64(True):
        case = Case(name, **fields)
        value, outputs, means, batch, grads = case.ours()
        out, found, total = case.theirs(batch)
        real = np.array(case.batch["real"])
        close = lambda a, b, what: np.testing.assert_allclose(
            np.asarray(a)[real], b.detach().numpy()[real], rtol=1e-9, atol=1e-9, err_msg=what
        )
        close(outputs["cell"], out["cell"], "cell")
        for label, logits in out["labels"].items():
            close(outputs["heads"][label], logits, label)
        for label in found:
            mean = torch.nan_to_num(found[label])  # NaN without a known cell, out of the total
            np.testing.assert_allclose(means[label], mean.item(), rtol=1e-9, err_msg=label)
        np.testing.assert_allclose(value, total.item(), rtol=1e-9)
        total.backward()
        ours = torch_keys(grads, case.c)
        for key, parameter in case.torch.named_parameters():
            theirs = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
            np.testing.assert_allclose(ours[key], theirs, rtol=1e-9, atol=1e-9, err_msg=key)


def test_sizes_are_the_published_ones():
    """At 19 321 tokens, without label heads; by eval_shape."""
    for name, number in (("bmfm_rna_wced", 43_887_218), ("bmfm_rna_mlm", 29_010_818)):
        assert count_parameters(config_of(name).model, labels=False) == number


def test_a_hidden_token_is_seen_by_itself_alone():
    with jax.enable_x64(True):
        case = Case("bmfm_rna_mlm:tiny")
        case.c.data.draw_masks.blocked = True
        value, outputs, _, batch, _ = case.ours()
        assert np.asarray(batch["blocked"]).any()
        out, _, total = case.theirs(batch)
        real = np.array(case.batch["real"])
        np.testing.assert_allclose(
            outputs["cell"][real], out["cell"].detach().numpy()[real], rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(value, total.item(), rtol=1e-9)


def test_masks_are_what_the_draws_say():
    case = Case("bmfm_rna_mlm:tiny")
    how = case.c.data.draw_masks
    how.ratio, how.hidden = 0.5, 0.6
    found = mask_tokens(case.batch, case.tables, case.c)
    draw = case.batch["draws"]["values"]
    np.testing.assert_array_equal(found["mask"], draw < how.ratio)
    hidden = draw < how.ratio * how.hidden
    np.testing.assert_array_equal(found["values"], np.where(hidden, -5, case.batch["values"]))
    np.testing.assert_array_equal(found["target"], case.batch["values"])
    assert jnp.asarray(found["mask"]).sum() > hidden.sum() > 0
