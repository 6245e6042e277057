"""Completed cells: better than means, as the model itself answers, each cell on its own."""

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse as sp

from jaxcell import cli, complete
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.generation import choose, next_bins
from jaxcell.models.cell import CellModel
from jaxcell.models.fields import next_ids
from jaxcell.training.checkpoint import Model, load_model, save_model
from tests.models.decoder import GENES, decoder

BINS, KINDS = 4, 2
NAMES = [f"G{i}" for i in range(GENES)]
KNOWN = 8  # genes that the partial cells measured


def config():
    c = decoder(layers=1)
    c.data.transforms, c.data.sequence.zeros = ("normalise", "bin", "sequence"), "all"
    c.data.sequence.number, c.embed.micro_batch = GENES, 4
    c.data.bin.update(method="clip", number=BINS, c=BINS - 1)
    c.model.heads = {"next": {"kind": "token_mlp", "outputs": BINS, "layers": 1}}
    one = dict(pred="heads.next", target="batch.next_values", where="batch.next", weight=1.0)
    c.losses = {"mlm": {"kind": "cross_entropy", "reduce": "masked_mean", **one}}
    return c


def draw(seed, cells):
    """AnnData of two kinds of cells, each with every other gene high."""
    random = np.random.default_rng(seed)
    high = np.arange(GENES) % KINDS == random.integers(0, KINDS, cells)[:, None]
    counts = random.poisson(np.where(high, 4.0, 0.2)).astype(np.float32)
    adata = anndata.AnnData(sp.csr_matrix(counts))
    adata.var_names, adata.obs_names = NAMES, [f"c{i}" for i in range(cells)]
    return adata


def bins_of(adata):
    return np.minimum(adata.X.toarray(), BINS - 1).astype(int)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir with a small decoder, trained on whole cells in random orders."""
    c, random = config(), np.random.default_rng(0)
    net, whole = CellModel(c.model), bins_of(draw(1, 400))
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state, ids, values):
        def loss(params):
            length = jnp.full(len(ids), GENES + 1)
            batch = {"ids": ids, "values": values, "length": length}
            outputs, _ = net.apply({"params": params, "batch_stats": {}}, batch, {}, train=False)
            logits, target = outputs["heads"]["next"][:, :-1], values[:, 1:].astype(jnp.int32)
            return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

        grads = jax.grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    params = jax.jit(net.init)(jax.random.key(0))["params"]
    state = optimizer.init(params)
    for _ in range(150):
        some = whole[random.integers(0, len(whole), 32)]
        ids = np.argsort(random.random(some.shape), axis=1).astype(np.int32)
        values = np.take_along_axis(some, ids, axis=1).astype(np.float32)
        front = np.insert(ids, 0, GENES, axis=1), np.insert(values, 0, -1, axis=1)
        params, state = step(params, state, *front)
    variables = {"params": jax.device_get(params)}
    measured = np.zeros((1, net.rows), bool)
    measured[:, : GENES - 1] = True  # of the last gene training knew nothing
    vocabulary = Vocabulary(NAMES, [""] * GENES, c.model.specials)
    workdir = tmp_path_factory.mktemp("decoder")
    tables = {"measured": measured}
    save_model(workdir, Model(c, vocabulary, {}, variables, tables, {"step": "150"}))
    return workdir


@pytest.fixture(scope="module")
def whole():
    return draw(2, 30)


@pytest.fixture(scope="module")
def completed(whole, trained):
    return complete(whole[:, :KNOWN], trained, probabilities=True, progress=False)


def test_it_beats_the_means_of_genes(whole, completed):
    truth, means = bins_of(whole), bins_of(draw(1, 400)).mean(axis=0)
    bins, asked = completed.layers["bins"], slice(KNOWN, GENES - 1)
    assert bins.dtype == np.int16
    np.testing.assert_array_equal(bins[:, :KNOWN], truth[:, :KNOWN])  # what was measured stays
    assert (bins[:, GENES - 1] == -1).all()
    error = lambda found: np.square(found - truth)[:, asked].mean()
    assert error(bins) < 0.6 * error(means)
    nonzero = completed.layers["nonzero"]
    assert np.isnan(nonzero[:, :KNOWN]).all()
    assert np.isnan(nonzero[:, GENES - 1]).all()
    there = truth[:, asked] > 0
    assert nonzero[:, asked][there].mean() > 0.7 > 0.4 > nonzero[:, asked][~there].mean()
    assert completed.var["measured"].tolist() == [True] * KNOWN + [False] * (GENES - KNOWN)
    assert completed.var["asked"].sum() == GENES - 1 - KNOWN
    assert list(completed.obs_names) == list(whole.obs_names)


def test_bins_do_not_depend_on_neighbours_order_or_batch_size(whole, trained, completed):
    def both(cells, **options):
        found = complete(cells, trained, probabilities=True, progress=False, **options)
        return np.stack([found.layers["bins"], found.layers["nonzero"]])

    partial = whole[:, :KNOWN].copy()
    expected = np.stack([completed.layers["bins"], completed.layers["nonzero"]])
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_array_equal(both(partial[order]), expected[:, order])
    np.testing.assert_array_equal(both(partial, batch_size=7), expected)
    np.testing.assert_array_equal(both(partial[11:12]), expected[:, 11:12])
    assert (both(partial, seed=1)[1] != expected[1])[:, KNOWN : GENES - 1].any()


def test_it_is_the_model_asked_for_one_gene_after_the_other(whole, trained, monkeypatch):
    """Without a cache: the whole cell once more for each gene."""
    from jaxcell import generation

    seen, plain = [], generation.Completer.__call__

    def spy(self, variables, batch, advance):
        found = plain(self, variables, batch, advance)
        seen.append((batch, *found))
        return found

    monkeypatch.setattr(generation.Completer, "__call__", spy)
    complete(whole[:3, :KNOWN], trained, progress=False)
    ((batch, bins, nonzero),) = seen
    model, asked, tokens = load_model(trained), batch["asked"], KNOWN + 1
    assert batch["ids"].shape == (3, tokens)
    assert len({tuple(row) for row in asked}) == 3  # each cell has an order of its own
    assert len({tuple(row) for row in batch["ids"]}) == 3
    net = CellModel(model.config.model)
    run = jax.jit(lambda batch: net.apply(model.variables, batch, {}, train=False)[0]["heads"])
    ids = np.concatenate([batch["ids"], asked], axis=1)
    values = np.zeros(ids.shape, np.float32)
    values[:, :tokens] = batch["values"]
    for i in range(asked.shape[1]):
        length = np.full(3, tokens + i)
        one = {"ids": ids, "values": values, "length": length}
        one["next_ids"] = next_ids(ids, length + 1)  # of the last token, the gene asked for
        logits = run(one)["next"][:, tokens + i - 1]
        np.testing.assert_array_equal(bins[:, i], logits.argmax(axis=-1))
        p = jax.nn.softmax(logits)[:, 0]
        np.testing.assert_allclose(nonzero[:, i], 1 - p, rtol=0, atol=1e-5)
        values[:, tokens + i] = bins[:, i]


def test_bins_are_drawn_by_their_probabilities():
    logits, n = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4])), 4000
    keys = np.stack([np.full(n, 7), np.arange(n)], axis=1).astype(np.uint32)
    genes = jnp.full(n, 3)
    draw = lambda genes, t: choose(jnp.broadcast_to(logits, (n, 4)), keys, genes, t)
    found = draw(genes, 0.5)
    np.testing.assert_array_equal(found, draw(genes, 0.5))
    assert (found != draw(genes + 1, 0.5)).any()
    shares = np.bincount(found, minlength=4) / n
    np.testing.assert_allclose(shares, np.array([1, 4, 9, 16]) / 30, atol=0.03)
    assert (draw(genes, 0.0) == 3).all()


def test_the_command_line_asks_for_some_genes_at_a_temperature(whole, trained, tmp_path, capsys):
    whole[:5, :KNOWN].copy().write_h5ad(tmp_path / "in.h5ad")
    (tmp_path / "genes.txt").write_text("G3\nG11\nG9\n")  # G3 was measured
    call = ["complete", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad")]
    call += ["--checkpoint", str(trained), "--temperature", "2", "--seed", "4"]
    cli.main([*call, "--genes", str(tmp_path / "genes.txt")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.var_names[found.var["asked"]]) == ["G9", "G11"]
    assert (
        (found.layers["bins"] >= 0).all(axis=0) == found.var["measured"] | found.var["asked"]
    ).all()
    assert "nonzero" not in found.layers
    said = found.uns["jaxcell"]["completion"]
    assert (said["temperature"], said["seed"], said["genes_asked"]) == (2.0, 4, 2)
    assert said["tokens"] == 1 + KNOWN + 2
    assert said["checkpoint_hash"] == load_model(trained).sha256
    again = complete(whole[:5, :KNOWN], trained, genes=["G11", "G9"], temperature=2, seed=4,
                     progress=False)  # fmt: skip
    np.testing.assert_array_equal(again.layers["bins"], found.layers["bins"])
    with pytest.raises(SystemExit, match=r"out.h5ad: exists already"):
        cli.main(call)


@pytest.mark.filterwarnings("ignore:.*cells without any count")
def test_a_cell_without_counts_has_no_answers(whole, trained):
    cells = whole[:2, :KNOWN].copy()
    cells.X = sp.csr_matrix(cells.X.toarray() * np.array([[1], [0]]), dtype=np.float32)
    bins = complete(cells, trained, progress=False).layers["bins"]
    assert (bins[0, : GENES - 1] >= 0).all()
    assert (bins[1, :KNOWN] == 0).all()
    assert (bins[1, KNOWN:] == -1).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"genes": ["G9", "TP53"]}, "genes: 'TP53' is no gene of the model's 20"),
        ({"genes": ["G19"]}, "genes: no training cell of this model measured G19"),
        ({"genes": ["G3"]}, "genes: the file measured all that the model can be asked for"),
        ({"temperature": -1.0}, "temperature: found -1.0, expected 0 or more"),
        ({"temperature": float("nan")}, "temperature: found nan, expected 0 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, text, whole, trained):
    with pytest.raises(ValueError, match=text):
        complete(whole[:, :KNOWN], trained, progress=False, **options)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.model.encoder.update(causal=False), "model.encoder.causal: found False"),
        (lambda c: c.model.update(tokens=("gene", "value")), "model.tokens: found .*'next'"),
        (lambda c: c.losses.mlm.update(target="batch.target"), "losses: found .*batch.next_values"),
        (
            lambda c: c.data.update(transforms=("normalise", "sequence")),
            "data.transforms: found .*'bin'",
        ),
    ],
)
def test_an_encoder_only_model_is_refused(change, text):
    c = config()
    assert next_bins(c) == "heads.next"
    change(c)
    with pytest.raises(ValueError, match=f"does not complete cells, .*config.{text}"):
        next_bins(c)
