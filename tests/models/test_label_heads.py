"""Label heads, metadata, vectors from files, pools, and what of the last block they ask for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxcell import config
from jaxcell.models.cell import CellModel, queries_of
from jaxcell.models.encoder import Encoder
from jaxcell.models.fields import Fields, Metadata
from jaxcell.models.label_heads import Classifier, gradient_reversal
from jaxcell.models.layers import Mlp
from tests.conftest import config_of

V, T, FRONT = 30, 12, 6
close = lambda a, b, **k: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, **k)


def spec_of(name="bmfm_rna_wced:tiny", labels=("cell_type", "donor"), **fields):
    """A small model of 30 genes, width 8, two blocks."""
    c = config_of(name)
    if "bmfm" in name:
        c.labels = labels
        c = config.settled(c)
    with c.unlocked():
        c.model.vocabulary, c.model.vocab_multiple, c.model.width = V, 4, 8
        c.model.update_from_flattened_dict(fields)
    return c.model


def batch_of(spec, seed=0):
    """Five cells of 1 … 6 genes behind the special tokens, and numbers where padding is."""
    random, s = np.random.default_rng(seed), len(spec.front or spec.specials)
    specials = [spec.specials.index(name) for name in spec.front or spec.specials]
    ids = np.stack([random.permutation(V)[: T - s] for _ in range(5)])
    ids = np.concatenate([np.broadcast_to(V + np.array(specials), (5, s)), ids], axis=1)
    values = random.gamma(0.7, 1.0, (5, T)) * (random.random((5, T)) < 0.8)
    values[:, :s] = -1.0 - np.array(specials)
    length = np.array([T, s + 1, s + 3, s + 4, T], np.int32)
    return {
        "ids": ids.astype(np.int32),
        "values": values,
        "length": length,
        "measured": np.ones((5, 32), bool),
        "labels": {"tissue": np.array([0, 2, -1, 1, 0], np.int32)},
    }


def drawn(model, seed=1):
    shapes = jax.eval_shape(model.init, jax.random.key(0))["params"]
    random = np.random.default_rng(seed)
    return {"params": jax.tree.map(lambda s: random.normal(0, 0.5, s.shape), shapes)} | {
        "batch_stats": {}
    }


def run(spec, batch, variables=None, **options):
    model = CellModel(spec)
    applied = jax.jit(functools.partial(model.apply, train=False, **options))
    return applied(variables or drawn(model), batch, {})[0]


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# Reversal and classifiers


def test_reversal_is_the_identity_forward_and_minus_strength_backward(x64):
    x, weights = np.array([[1.0, -2, 3]]), np.array([[0.5, 1.0, -4]])

    @jax.jit
    def both(x, strength):
        f = lambda x, s: (weights * gradient_reversal(x, s)).sum()
        return gradient_reversal(x, strength), jax.grad(f, argnums=(0, 1))(x, strength)

    for strength in (0.0, 0.3, 2.0):
        value, (of_x, of_strength) = both(x, strength)
        np.testing.assert_array_equal(value, x)
        np.testing.assert_array_equal(of_x, -strength * weights)
        assert of_strength == 0
    assert both._cache_size() == 1  # the strength is an ordinary argument: one program for all
    narrow = jax.grad(lambda x: gradient_reversal(x, 2.0).sum())(jnp.ones(2, jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16


def classifier(**options):
    head = Classifier("tissue", 3, **options)
    cell = np.random.default_rng(0).normal(size=(4, 5))
    shapes = jax.eval_shape(head.init, jax.random.key(0), cell, {})["params"]
    params = jax.tree.map(lambda s: np.random.default_rng(1).normal(size=s.shape), shapes)

    def apply(cell, params, **more):
        return head.apply({"params": params}, cell, {}, **more)

    return apply, cell, params


def test_classifiers_by_hand(x64):
    apply, cell, p = classifier()
    assert list(p) == ["out"]
    close(apply(cell, p), cell @ p["out"]["kernel"] + p["out"]["bias"])
    apply, cell, p = classifier(mlp=True, dropout=0.5)
    h = cell @ p["in"]["kernel"] + p["in"]["bias"]
    h = h * (1 + erf(h / np.sqrt(2))) / 2
    out = p["out"]
    close(apply(cell, p), h @ out["kernel"] + out["bias"])
    # In training half of the hidden numbers are left out, and the others count twice.
    found = [apply(cell, p, train=True, rngs={"dropout": jax.random.key(k)}) for k in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.1
    # With hidden numbers apart: each output is one hidden number, whole, doubled or gone.
    p = {**p, "out": {"kernel": np.eye(5)[:, :3], "bias": np.zeros(3)}}
    made = np.asarray(apply(cell, p, train=True, rngs={"dropout": jax.random.key(2)}))
    kept = made != 0
    close(made[kept], 2 * h[:, :3][kept])
    assert 0 < kept.sum() < kept.size


def test_narrow_cells_give_float32_logits():
    """Sums of the narrow factors' products are not rounded to bfloat16, nor is the bias."""
    head = Classifier("tissue", 3, dtype=jnp.bfloat16)
    random = np.random.default_rng(0)
    cell = jnp.asarray(random.normal(size=(8, 64)), jnp.bfloat16)
    params = head.init(jax.random.key(0), cell, {})
    params["params"]["out"]["bias"] = bias = random.normal(size=3).astype(np.float32)
    kernel = np.asarray(params["params"]["out"]["kernel"].astype(jnp.bfloat16), np.float64)
    found = head.apply(params, cell, {})
    assert found.dtype == jnp.float32
    expected = np.asarray(cell, np.float64) @ kernel + bias
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_reversed_head_learns_as_any_other_and_the_cell_unlearns(x64):
    plain, cell, p = classifier(mlp=True)
    reverse, *_ = classifier(mlp=True, reverse=0.4)
    np.testing.assert_array_equal(reverse(cell, p), plain(cell, p))
    grads = [
        jax.grad(lambda x, p, f=f: (f(x, p) ** 2).sum(), argnums=(0, 1))(cell, p)
        for f in (plain, reverse)
    ]
    close(grads[1][0], -0.4 * grads[0][0])
    jax.tree.map(np.testing.assert_array_equal, grads[1][1], grads[0][1])
    assert np.abs(grads[0][0]).max() > 0.1


# Metadata


def test_metadata_has_a_row_for_each_class_and_one_for_unknown():
    made = Metadata("tissue", 3, 4, dropout=0.5)
    codes = np.array([0, 2, -1, 1], np.int32)
    params = made.init({"params": jax.random.key(0), "dropout": jax.random.key(0)}, codes, False)
    rows = np.asarray(params["params"]["rows"])
    assert rows.shape == (4, 4)
    np.testing.assert_array_equal(made.apply(params, codes, False), rows[[0, 2, 3, 1]])
    many = np.full(2000, 1, np.int32)
    shown = made.apply(params, many, True, rngs={"dropout": jax.random.key(1)})
    hidden = (np.asarray(shown) == rows[3]).all(axis=1)
    assert ((np.asarray(shown) == rows[1]).all(axis=1) | hidden).all()
    assert hidden.mean() == pytest.approx(0.5, abs=0.05)
    always = Metadata("tissue", 3, 4, dropout=0.0).apply(params, many, True)
    np.testing.assert_array_equal(always, np.broadcast_to(rows[1], (2000, 4)))


METADATA = {"label": "tissue", "classes": 3, "dropout": 0.3}


def with_metadata(place, name="bmfm_rna_wced:tiny", **fields):
    spec = spec_of(name, **fields)
    with spec.unlocked():
        spec.metadata = {"organ": {**METADATA, "place": place}}
    return spec


def embedded(spec, batch, variables, train=False, key=0):
    rngs = {"dropout": jax.random.key(key)}
    fields = Fields(CellModel(spec).spec)
    given = {**batch, "tables": batch.get("tables", {})}
    return fields.apply({"params": variables["params"]["fields"]}, given, train=train, rngs=rngs)


@pytest.mark.parametrize("name", ["bmfm_rna_wced:tiny", "txfm_b:tiny"])
def test_metadata_changes_the_first_token_or_stands_in_front(x64, name):
    batch, plain = None, {"norm": ""}
    for place in ("cls", "token"):
        spec = with_metadata(place, name, **plain)
        batch = batch_of(spec)
        variables = drawn(CellModel(spec))
        rows = variables["params"]["fields"]["organ"]["rows"]
        own = rows[[0, 2, 3, 1, 0]]  # the third cell's tissue is unknown
        without = embedded(spec_of(name, **plain), batch, variables)
        found = embedded(spec, batch, variables)
        if place == "cls":
            close(found[:, 0], without[:, 0] + own)
            np.testing.assert_array_equal(found[:, 1:], without[:, 1:])
        else:
            close(found[:, 0], own)
            np.testing.assert_array_equal(found[:, 1:], without)
        hidden = [embedded(spec, batch, variables, train=True, key=k) != found for k in range(4)]
        hidden = np.any(hidden, axis=(0, 3))
        assert hidden[[0, 1, 3, 4], 0].any()
        assert not hidden[2].any()  # unknown already
        assert not hidden[:, 1:].any()


@pytest.mark.parametrize("attention", ["exact", "performer", "nystrom"])
def test_with_a_token_of_metadata_all_others_stay_where_they_are(x64, attention):
    """By hand: the encoder over one token more, which is then left out."""
    fields = {"encoder.attention": attention, "pool": "cls+mean+<cls_2>"}
    spec = with_metadata("token", **fields)
    batch, variables = batch_of(spec), drawn(CellModel(spec))
    if attention == "exact":
        blocked = np.zeros((5, T), bool)
        blocked[:, [7, 9]] = True
        batch["blocked"] = blocked
    found = run(spec, batch, variables, tokens=True)
    x = embedded(spec, batch, variables)
    assert x.shape == (5, T + 1, 8)
    blocked = jnp.pad(batch["blocked"], ((0, 0), (1, 0))) if attention == "exact" else None
    encoder = Encoder(**spec.encoder)
    params = {"params": variables["params"]["encoder"]}
    y = encoder.apply(params, x, batch["length"] + 1, train=False, blocked=blocked)[:, 1:]
    close(found["cell"][:, :8], y[:, 0])
    close(found["cell"][:, 16:], y[:, 3])
    for b, n in enumerate(batch["length"]):
        close(found["tokens"][b, :n], y[b, :n])
        close(found["cell"][b, 8:16], y[b, FRONT:n].mean(axis=0))
    short = run(spec, batch, variables)
    for a, b in zip(
        jax.tree.leaves(short), jax.tree.leaves({**found, "tokens": None}), strict=True
    ):
        close(a, b)
    # It is of use: another tissue, another vector; and what is padding does not count.
    other = {**batch, "labels": {"tissue": np.full(5, 1, np.int32)}}
    moved = np.abs(run(spec, other, variables)["cell"] - found["cell"]).max(axis=1)
    assert (moved[[0, 1, 2, 4]] > 1e-3).all()
    assert moved[3] == 0
    padding = np.arange(T)[None] >= batch["length"][:, None]
    noisy = {**batch, "values": np.where(padding, 7.0, batch["values"])}
    close(run(spec, noisy, variables)["cell"], found["cell"])


def test_two_tokens_of_metadata_and_one_added(x64):
    spec = with_metadata("token", norm="")
    with spec.unlocked():
        spec.metadata.second = {**METADATA, "place": "token"}
        spec.metadata.added = {**METADATA, "place": "cls"}
    batch, variables = batch_of(spec), drawn(CellModel(spec))
    x, rows = embedded(spec, batch, variables), variables["params"]["fields"]
    without = embedded(spec_of(norm=""), batch, variables)
    codes = [0, 2, 3, 1, 0]
    assert x.shape == (5, T + 2, 8)
    close(x[:, 0] + x[:, 1], rows["organ"]["rows"][codes] + rows["second"]["rows"][codes])
    close(x[:, 2], without[:, 0] + rows["added"]["rows"][codes])
    found = run(spec, batch, variables)
    assert found["cell"].shape == (5, 8)


# Fields


def test_vectors_from_a_file_stay_and_those_it_lacks_are_learned(x64):
    fields = {"kind": "external", "input": "ids", "channels": 5, "file": "x.tsv"}
    spec = spec_of(norm="")
    with spec.unlocked():
        spec.fields.gene = fields
    batch, model = batch_of(spec), CellModel(spec)
    variables, random = drawn(model), np.random.default_rng(4)
    known = np.arange(model.token_rows) % 3 == 0
    known[V:] = False  # special tokens are learned
    vectors = np.where(known[:, None], random.normal(size=(len(known), 5)), 99.0)
    batch["tables"] = {"vectors": {"gene": vectors}, "known": {"gene": known}}
    fields = variables["params"]["fields"]

    @jax.jit
    def made(fields):
        return embedded(spec, batch, {"params": {"fields": fields}})

    nothing = {**fields, "gene": jax.tree.map(np.zeros_like, fields["gene"])}
    dense, own = fields["gene"]["dense"], fields["gene"]["embedding"]
    table = np.where(known[:, None], vectors, own)
    gene = table[batch["ids"]] @ dense["kernel"] + dense["bias"]
    close(made(fields) - made(nothing), gene)
    # Where the file has a gene, what the parameter holds is read by nobody, and never trained.
    grads = jax.jit(jax.grad(lambda f: (made(f) ** 2).sum()))(fields)["gene"]
    moves = np.abs(grads["embedding"]).max(axis=1) > 0
    assert set(np.flatnonzero(moves)) == set(batch["ids"].ravel()) - set(np.flatnonzero(known))
    assert np.abs(grads["dense"]["kernel"]).max() > 0
    decayed = {**fields, "gene": {"dense": dense, "embedding": np.where(known[:, None], 0, own)}}
    np.testing.assert_array_equal(made(decayed), made(fields))


def test_each_field_drops_its_own_numbers(x64):
    def made(gene, value, train=True, key=0):
        spec = spec_of(norm="")
        with spec.unlocked():
            spec.fields.gene.dropout, spec.fields.value.dropout = gene, value
        batch = batch_of(spec)
        return np.asarray(embedded(spec, batch, variables, train=train, key=key))

    variables = drawn(CellModel(spec_of(norm="")))
    batch = batch_of(spec_of())
    gene = variables["params"]["fields"]["gene"]["embedding"][batch["ids"]]
    value = made(0.0, 0.0) - gene
    np.testing.assert_array_equal(made(0.5, 0.5, train=False), made(0.0, 0.0))
    kept = np.isclose(made(0.0, 0.5) - gene, 2 * value)
    assert (kept | np.isclose(made(0.0, 0.5), gene)).all()
    assert kept.mean() == pytest.approx(0.5, abs=0.1)
    genes_kept = np.isclose(made(0.5, 0.0) - value, 2 * gene)
    assert genes_kept.mean() == pytest.approx(0.5, abs=0.1)
    both = made(0.5, 0.5)
    found = [np.isclose(both, a * gene + b * value) for a in (0, 2) for b in (0, 2)]
    assert np.any(found, axis=0).all()
    assert all(0.15 < one.mean() < 0.35 for one in found)  # a quarter each: independent


def test_concatenated_fields_drop_too(x64):
    spec = spec_of("txfm_b:tiny")
    with spec.unlocked():
        spec.fields.gene.dropout = 0.5
    batch, variables = batch_of(spec), drawn(CellModel(spec))
    plain = embedded(spec, batch, variables)
    np.testing.assert_array_equal(plain, embedded(spec_of("txfm_b:tiny"), batch, variables))
    moved = np.abs(embedded(spec, batch, variables, train=True) - plain).max(axis=2)
    assert (moved[:, 1:] > 0).all()
    assert not moved[:, :1].any()  # the CLS token is no gene


# Pools, and the tokens that they and the heads read


def test_pools_by_hand(x64):
    spec = spec_of()
    batch, variables = batch_of(spec), drawn(CellModel(spec_of()))
    batch["length"] = batch["length"].copy()
    batch["length"][1] = FRONT  # no gene at all
    pools = ("cls", "mean", "pooler", "<cls_2>", "<sep>")
    found = run(spec, batch, variables, pool=pools, tokens=True, heads=False)
    tokens, dense = np.asarray(found["tokens"]), variables["params"]["pool"]["dense"]
    means = [tokens[b, FRONT:n].mean(axis=0) for b, n in enumerate(batch["length"]) if n > FRONT]
    means.insert(1, np.zeros(8))
    pooler = np.tanh(tokens[:, 0] @ dense["kernel"] + dense["bias"])
    expected = [tokens[:, 0], np.stack(means), pooler, tokens[:, 3], tokens[:, 5]]
    close(found["cell"], np.concatenate(expected, axis=1))
    alone = run(spec, batch, variables, pool="mean", heads=False)
    close(alone["cell"], np.stack(means))


CASES = [
    *(("cls", True), (("pooler", "mean"), False), (("<cls_3>", "pooler"), False)),
    *(("cls", ("donor",)), ("cls", ("expression",))),
]


@pytest.mark.parametrize("config_pool", ["cls", "pooler+mean"])
def test_what_nobody_reads_is_not_computed_and_nothing_changes(x64, config_pool):
    spec = spec_of(pool=config_pool)
    batch, variables = batch_of(spec), drawn(CellModel(spec))
    whole = {}
    for pool, heads in CASES:
        if pool not in whole:
            whole[pool] = run(spec, batch, variables, pool=pool, tokens=True)
        short = run(spec, batch, variables, pool=pool, heads=heads)
        close(short["cell"], whole[pool]["cell"])
        names = list(spec.heads) if heads is True else heads or ()
        assert list(short.get("heads", ())) == sorted(names)
        for name in names:
            jax.tree.map(close, short["heads"][name], whole[pool]["heads"][name])


def test_how_many_tokens_are_read():
    spec = CellModel(spec_of()).spec
    assert queries_of(spec) == 4  # the donor's head reads <cls_2>, the fourth token
    assert queries_of(spec, heads=False) == 1
    assert queries_of(spec, "<sep>", False) == 6
    assert queries_of(spec, ("pooler", "<cls_0>"), ("expression",)) == 2
    assert queries_of(spec, "mean", False) is None
    mlm = CellModel(spec_of("bmfm_rna_mlm:tiny")).spec
    assert queries_of(mlm) is None
    assert queries_of(mlm, heads=("donor",)) == 1


@pytest.mark.parametrize("name", ["bmfm_rna_wced:tiny", "txfm_b:tiny"])
def test_a_vector_behind_any_block_of_the_encoder(x64, name):
    spec = spec_of(name, labels=())
    batch, variables = batch_of(spec), drawn(CellModel(spec))
    one = spec.copy_and_resolve_references()
    one.encoder.layers = 1
    one.encoder.final_norm = False
    params = variables["params"]
    encoder = {k: v for k, v in params["encoder"].items() if k != "norm"}
    if "first" in encoder:
        encoder = {"first": encoder["first"]}
    else:
        encoder = {"blocks": jax.tree.map(lambda a: a[:1], encoder["blocks"])}
    cut = {"params": {**params, "encoder": encoder}, "batch_stats": {}}
    for pool in ("cls", "mean"):
        first = run(spec, batch, variables, depth=1, heads=False, pool=pool)["cell"]
        close(first, run(one, batch, cut, heads=False, pool=pool)["cell"])
        last = run(spec, batch, variables, depth=2, heads=False, pool=pool)["cell"]
        np.testing.assert_array_equal(
            last, run(spec, batch, variables, heads=False, pool=pool)["cell"]
        )


def test_a_vector_behind_the_decoder_is_of_what_the_decoder_reads(x64):
    """Also where the call's own pool reads fewer tokens than the config's."""
    spec = spec_of("txfm_b:tiny", pool="mean")
    batch, variables = batch_of(spec), drawn(CellModel(spec))
    cell = run(spec, batch, variables, heads=False)["cell"]
    head = variables["params"]["heads"]["expression"]
    for pool in (None, "cls"):
        found = run(spec, batch, variables, depth=3, heads=False, pool=pool)["cell"]
        close(found, cell + Mlp(8).apply({"params": head["blocks_0"]}, cell))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"pool": "max"},
            "config.model.pool: found 'max', expected cls, mean, weighted, last, pooler, <cls>",
        ),
        ({"pool": ""}, "config.model.pool: found '', expected cls, mean, weighted, last, pooler"),
        ({"pool": "cls+<cls_9>"}, "config.model.pool: found '<cls_9>', expected"),
        ({"pooler": False, "pool": "pooler"}, "'pooler' asks for config.model.pooler = True"),
        (
            {"heads.donor.reads": "<cls_9>"},
            "config.model.heads.donor.reads: found '<cls_9>', expected cell, tokens, mean, "
            "weighted, last",
        ),
        (
            {"heads.donor.reads": "pooled", "pooler": False},
            "donor.reads: found 'pooled', which asks for config.model.pooler = True, expected",
        ),
    ],
)
def test_tokens_that_the_model_lacks_are_refused(fields, text):
    with pytest.raises(ValueError) as error:
        CellModel(spec_of(**fields))
    assert text in str(error.value)
