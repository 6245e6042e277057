"""scFormer, BioFormer and BioFormers against independent torch models, in float64.

Outputs, every loss, the gradient of each parameter and the running statistics of a training step
on a batch of mixed domains, with padded cells and tokens, masks, and labels that are not known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcell import config
from jaxcell.losses import total as losses
from jaxcell.models.cell import CellModel
from tests.conftest import config_of
from tests.models import torch_names

torch = pytest.importorskip("torch")

from tests.reference import bioformer, bioformers, bmfm, scformer  # noqa: E402
from tests.reference import pair_losses as pairs  # noqa: E402

B, T, V = 7, 9, 11  # cells, tokens, genes
D, HEADS, LAYERS, HIDDEN = 8, 2, 2, 12
BATCHES, TYPES, BINS = 3, 4, 6


def shrink(c):
    """To the sizes above, without dropout, whose draws two frameworks do not share."""
    c.model.vocabulary, c.model.vocab_multiple, c.model.width = V, 1, D
    e = c.model.encoder
    e.layers, e.heads, e.hidden, e.dropout = LAYERS, HEADS, HIDDEN, 0.0
    c.data.bin.number = BINS
    for fields in (c.model.fields, c.model.heads, c.model.metadata):
        for one in fields.values():
            one.dropout = 0.0 if "dropout" in one else one.get("dropout", None)
            if one.dropout is None:
                del one["dropout"]
            for size, n in (("number", BINS), ("outputs", BINS)):
                if one.get(size, 1) > 1:
                    one[size] = n
            if "label" in one:
                one.classes = TYPES if one.label == "cell_type" else BATCHES
    for one in (c.model.domain, *c.model.conditions.values()):
        one.classes = BATCHES
    return c


def batch_of(specials, real=B - 1, seed=0):
    """Cells of CLS and up to T − 1 genes with bins; a masked part; the last one is padding."""
    random = np.random.default_rng(seed)
    ids = np.stack([random.permutation(V)[:T] for _ in range(B)])
    ids[:, 0] = V + specials.index("<cls>")
    bins = random.integers(0, BINS, (B, T)) * (random.random((B, T)) < 0.7)
    length = np.array([T, T - 2, T, 4, T - 1, T, 5])
    inside = (np.arange(T) < length[:, None]) & (np.arange(T) > 0)
    mask = inside & (random.random((B, T)) < 0.4)
    target = np.where(inside, bins, 0).astype(np.float64)
    values = np.where(mask, -(len(specials) + 1.0), target)
    values[:, 0] = -(specials.index("<cls>") + 1.0)
    place = np.arange(B)
    return {
        "ids": ids,
        "values": values,
        "length": length,
        "mask": mask,
        "target": target,
        "expressed": target > 0,
        "token_panel": np.log1p(2 * target) + 0.1 * random.normal(size=(B, T)),
        "token_mean": random.normal(size=(B, T)),
        "real": place < real,
        "labels": {
            "batch": place % BATCHES,
            "cell_type": np.where(place == 1, -1, place % TYPES),
        },
        "progress": 1.0,
    }


def system(name, *, labels=("cls",), change=None):
    c = config_of(name)
    c.batch, c.labels = "batch", labels
    c = shrink(config.settled(c))
    if change:
        change(c)
    return c


def drawn(tree, seed=1):
    """Every parameter drawn anew, scales about 1: nothing stays 0 or 1."""
    random = np.random.default_rng(seed)

    def draw(keys, leaf):
        return 0.4 * random.normal(size=leaf.shape) + ("scale" in str(keys[-1]))

    return jax.tree_util.tree_map_with_path(draw, tree)


def ours(c, batch, *, train=True, variables=None):
    """Outputs, {loss: mean}, their weighted sum, gradients and new statistics, in float64."""
    model = CellModel(c.model)
    with jax.enable_x64(True):
        if variables is None:
            made = jax.jit(model.init)(jax.random.key(0))
            variables = {"params": drawn(made["params"]), "batch_stats": made["batch_stats"]}
            variables = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
        batch = jax.tree.map(jnp.asarray, batch)

        def objective(params):
            own = {**variables, "params": params}
            rngs = {"dropout": jax.random.key(0)} if train else None
            outputs, stats = model.apply(own, batch, {}, train=train, rngs=rngs, tokens=True)
            parts = losses.total(c.losses, outputs, batch, {})
            return losses.weighted(c.losses, parts), (outputs, losses.divide(parts), stats)

        if train:
            differentiated = jax.jit(jax.grad(objective, has_aux=True))
            grads, (outputs, means, stats) = differentiated(variables["params"])
        else:
            grads, (_, (outputs, means, stats)) = {}, jax.jit(objective)(variables["params"])
    found = jax.device_get((outputs, means, grads, stats))
    return *found, variables


def check(found, want, places):
    """Compare where a cell's token is, and the cell is no padding."""
    for name, place in places.items():
        mine, theirs = found[name], want[name].detach().numpy()
        np.testing.assert_allclose(mine[place], theirs[place], atol=1e-9, err_msg=name)


def check_gradients(found, reference, names):
    for name, parameter in reference.named_parameters():
        grad = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(found[name], grad, atol=1e-9, err_msg=name)
    assert found.keys() == names


def places_of(batch):
    token = (np.arange(T) < batch["length"][:, None]) & batch["real"][:, None]
    return token, batch["real"]


# scFormer

KEYS = {"inner_product": "inner product", "concat_query": "concat query", "sum_query": "sum query"}
SCFORMER = {
    "code": ("scformer", {}),
    "paper": ("scformer:paper", {}),
    "affine": ("scformer", {"model.domain.affine": True, "model.heads.mvc.detach": True}),
    "concat": ("scformer", {"model.heads.mvc.style": "concat_query"}),
    "sum": ("scformer:paper", {"model.heads.mvc.style": "sum_query"}),
    "no domains": ("scformer", {"model.norm": "batch", "model.domain.affine": True}),
    "weighted": ("scformer", {"model.pool": "weighted"}),
}


def scformer_reference(c):
    m, mvc = c.model, c.model.heads.mvc
    return scformer.Scformer(
        *(V + 3, D, HEADS, LAYERS, HIDDEN),
        norm=m.norm,
        domains=BATCHES,
        affine=m.domain.affine,
        pool=m.pool,
        outputs=mvc.get("outputs", 1),
        zero=mvc.get("zero", False),
        mvc=KEYS[mvc.get("style", "inner_product")],
        detach=mvc.get("detach", False),
        classes=TYPES,
        batches=BATCHES,
        conditions=BATCHES + 1 if m.conditions else 0,
    )


def scformer_losses(c, want, batch):
    """{loss: mean} by the reference, of the config's own weights."""
    t = {k: torch.tensor(batch[k]) for k in ("mask", "target", "real", "token_mean")}
    labels = {k: torch.tensor(v) for k, v in batch["labels"].items()}
    where, real = t["mask"], t["real"]
    found = {
        "ecs": pairs.elastic(want["cell"], c.losses.ecs.beta, real),
        "dar": pairs.label_cross_entropy(want["dar"], labels["batch"], real),
        "cls": pairs.label_cross_entropy(want["cls"], labels["cell_type"], real),
    }
    for name in ("mgm", "mvc"):
        if c.losses[name].kind == "mse":
            found[name] = pairs.masked_mse(want[name], t["target"], where, real)
            zero = pairs.nonzero_nll(want[f"{name}_zero"], t["target"], where, real)
            found[f"{name}_zero"] = zero
        else:
            found[name] = pairs.masked_cross_entropy(want[name], t["target"], where, real)
    if "mgm_at_means" in c.losses:
        mean = pairs.masked_mse(t["token_mean"], t["target"], where, real)
        found["mgm_at_means"] = mean
    return found


SLOW = ("paper", "affine", "concat", "sum", "no domains", "weighted")
CASES = [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in SCFORMER]


@pytest.mark.parametrize("name", CASES)
def test_scformer_is_the_reference(name):
    system_name, fields = SCFORMER[name]
    c = system(system_name, change=lambda c: c.update_from_flattened_dict(fields))
    batch = batch_of(c.model.specials)
    found, means, grads, stats, variables = ours(c, batch)
    reference = scformer_reference(c)
    names = torch_names.scformer(torch_names.flat(variables["params"]))
    bmfm.load(reference, names)
    shown = scformer.shown(batch["values"], len(c.model.specials), 0, -1)
    args = (batch["ids"], shown, batch["length"], batch["labels"]["batch"])
    more = dict(batch=batch["labels"]["batch"], real=batch["real"])
    want = reference(*args, train=True, **more)
    token, cell = places_of(batch)
    heads = found.pop("heads")
    for head, one in heads.items():
        parts = one if isinstance(one, dict) else {"value": one}
        found[head] = parts["value"]
        if "nonzero" in parts:
            found[f"{head}_zero"] = parts["nonzero"]
    where = {"tokens": token, "cell": cell, "mgm": token, "mvc": token, "dar": cell, "cls": cell}
    where |= {k: token for k in ("mgm_zero", "mvc_zero") if k in want}
    check(found, want, where)
    theirs = scformer_losses(c, want, batch)
    assert theirs.keys() == means.keys()
    for k, value in theirs.items():
        np.testing.assert_allclose(means[k], value.detach(), atol=1e-9, err_msg=k)
    sum(c.losses[k].weight * value for k, value in theirs.items()).backward()
    check_gradients(torch_names.scformer(torch_names.flat(grads)), reference, names.keys())
    kept, of = scformer.listed(reference), stats["fields"]["norm"]
    for k in range(len(of["mean"])):
        own = "bn" if c.model.norm == "batch" else f"dsbn.bns.{k}"
        np.testing.assert_allclose(of["mean"][k], kept[f"{own}.running_mean"], atol=1e-9)
        np.testing.assert_allclose(of["var"][k], kept[f"{own}.running_var"], atol=1e-9)
    variables = {**variables, "batch_stats": stats}
    after = ours(c, batch, train=False, variables=variables)[0]
    want = reference(*args, train=False, **more)
    check(after, want, {"tokens": token, "cell": cell})
    unknown = {**batch, "labels": {**batch["labels"], "batch": np.full(B, -1)}}
    if c.model.norm == "domain" and "given" not in str(c.model.heads):
        after = ours(c, unknown, train=False, variables=variables)[0]
        want = reference(*args[:3], np.full(B, -1), train=False, real=batch["real"])
        check(after, want, {"tokens": token, "cell": cell})


@pytest.mark.slow
def test_category_style_of_scformer_is_the_reference():
    """Bins as rows, with a row each for padding and a masked value."""

    def change(c):
        codes = (BINS, 0, 0, BINS + 1)
        c.model.fields.value = {"kind": "bins", "input": "values", "number": BINS + 2, "norm": True}
        c.model.fields.value.codes = codes

    c = system("scformer:paper", change=change)
    batch = batch_of(c.model.specials)
    found, _, _, _, variables = ours(c, batch)
    reference = scformer.Scformer(
        *(V + 3, D, HEADS, LAYERS, HIDDEN),
        **dict(values=BINS + 2, norm="domain", domains=BATCHES, outputs=BINS, mvc="inner product"),
        **dict(classes=TYPES, batches=BATCHES),
    )
    bmfm.load(reference, torch_names.scformer(torch_names.flat(variables["params"])))
    shown = scformer.shown(batch["values"], 3, 0, BINS + 1)
    domain = batch["labels"]["batch"]
    want = reference(batch["ids"], shown, batch["length"], domain, train=True, real=batch["real"])
    token, _ = places_of(batch)
    check(found, want, {"tokens": token})


# BioFormer


@pytest.mark.parametrize("typed", [False, True])
def test_bioformer_is_the_reference(typed):
    """``typed``: the paper's cell-type embedding, which the config leaves out."""

    def change(c):
        if typed:
            own = {"label": "cell_type", "classes": TYPES, "place": "all", "dropout": 0.0}
            c.model.metadata.cell_type = own

    c = system("bioformer", labels=("ecs",), change=change)
    batch = batch_of(c.model.specials)
    batch["mask"] &= batch["expressed"]
    batch["values"] = np.where(batch["values"] == -2, batch["target"], batch["values"])
    batch["values"] = np.where(batch["mask"], -2.0, batch["values"])
    found, means, grads, _, variables = ours(c, batch)
    sizes = (V, D, HEADS, LAYERS, HIDDEN, BATCHES)
    reference = bioformer.Bioformer(*sizes, bins=BINS, cell_types=TYPES if typed else 0)
    names = torch_names.bioformer(torch_names.flat(variables["params"]), V)
    bmfm.load(reference, names)
    shown = np.where(batch["values"] < 0, 0, batch["values"])
    labels = batch["labels"]
    args = batch["ids"], shown, batch["length"], batch["expressed"], labels["batch"]
    want = reference(*args, labels["cell_type"] if typed else None)
    token, cell = places_of(batch)
    found |= found.pop("heads")
    where = {"tokens": token, "cell": cell, "mlm": token, "regression": token, "study": cell}
    check(found, want, where)
    t = {k: torch.tensor(batch[k]) for k in ("mask", "target", "real", "token_panel")}
    classes = {k: torch.tensor(v) for k, v in labels.items()}
    theirs = {
        "mlm": pairs.masked_cross_entropy(want["mlm"], t["target"], t["mask"], t["real"]),
        "regression": pairs.masked_mse(want["regression"], t["token_panel"], t["mask"], t["real"]),
        "ecs": pairs.margin(want["cell"], classes["cell_type"], 1.0, t["real"]),
        "study": pairs.label_cross_entropy(want["study"], classes["batch"], t["real"]),
    }
    assert theirs.keys() == means.keys()
    for k, value in theirs.items():
        np.testing.assert_allclose(means[k], value.detach(), atol=1e-9, err_msg=k)
    weights = {"mlm": 1.0, "regression": 0.1, "ecs": 0.1, "study": 0.1}
    assert {k: c.losses[k].weight for k in weights} == weights
    sum(weights[k] * value for k, value in theirs.items()).backward()
    found = torch_names.bioformer(torch_names.flat(grads), V)
    check_gradients(found, reference, names.keys())


# BioFormers


@pytest.mark.parametrize("name", ["bioformers_encoder:external", "bioformers_decoder"])
def test_bioformers_are_the_reference(name):
    causal = "decoder" in name

    def change(c):
        c.data.flag_genes.label = "perturbation"

    c = system(name, labels=(), change=change)
    batch = batch_of(c.model.specials)
    flags = (batch["ids"] == 4).astype(np.int32)
    if causal:
        batch["values"] = np.where(batch["values"] == -2, batch["target"], batch["values"])
        place = np.arange(T) + 1
        batch |= {"next": place < batch["length"][:, None]}
        batch["next_values"] = np.roll(batch["values"], -1, axis=1)
    else:
        batch["flags"] = {"perturbed": flags}
    found, means, grads, _, variables = ours(c, batch)
    sizes = (V + 1, D, HEADS, LAYERS, HIDDEN, BINS)
    reference = bioformers.Bioformers(*sizes, causal=causal, flags=0 if causal else 2)
    names = torch_names.scformer(torch_names.flat(variables["params"]))
    if causal:  # special tokens are nobody's next gene and have no row here
        table = names["query.weight"]
        names["query.weight"] = np.concatenate([table, np.zeros((1, D))])
    bmfm.load(reference, names)
    shown = scformer.shown(batch["values"], 1, 0, -1)
    want = reference(batch["ids"], shown, batch["length"], None if causal else flags)
    token, cell = places_of(batch)
    found["logits"] = found.pop("heads")["mgm"]
    check(found, want, {"tokens": token, "cell": cell, "logits": token})
    t = {k: torch.tensor(batch[k]) for k in ("mask", "target", "real")}
    target, where = t["target"], t["mask"]
    if causal:
        target, where = bioformers.next_targets(shown, batch["length"])
    theirs = pairs.masked_cross_entropy(want["logits"], target, where, t["real"])
    np.testing.assert_allclose(means["mgm"], theirs.detach(), atol=1e-9)
    theirs.backward()
    found = torch_names.scformer(torch_names.flat(grads))
    if causal:
        found["query.weight"] = np.concatenate([found["query.weight"], np.zeros((1, D))])
    check_gradients(found, reference, names.keys())
