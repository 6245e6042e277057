"""Our models in PyTorch: the numbers of JAX, in float64; and what a folder may not be."""

import json
import shutil
import subprocess
import sys
import warnings

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import jaxcell
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import save_model
from tests.conftest import config_of, draw_cells
from tests.conversion.exports import (
    MLM,
    NAMES,
    SCFORMER,
    WCED,
    batch_of,
    config_with_heads,
    exported,
    model_of,
)
from tests.conversion.test_export import WRONG

torch = pytest.importorskip("torch")

from jaxcell.conversion.convert import convert  # noqa: E402
from jaxcell.conversion.exported import config_sha256  # noqa: E402
from jaxcell.conversion.torch_model import load  # noqa: E402
from tests.conversion import test_bioformer  # noqa: E402


def of_jax(model, batch):
    """Outputs of our model in float64."""
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model.variables)
        batch = jax.tree.map(jnp.asarray, batch)
        net = CellModel(model.config.model)
        run = jax.jit(lambda *given: net.apply(*given, {}, train=False, tokens=True)[0])
        return jax.tree.map(np.asarray, run(variables, batch))


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


def compared(c, tmp_path):
    """How far a config's outputs in torch are from ours."""
    model, folder = exported(c, tmp_path)
    batch, net = batch_of(c), load(folder)
    ours = of_jax(model, batch)
    assert set(ours["heads"]) == set(net.config["model"]["heads"])
    return distance(ours, of_torch(net, batch), batch, c.model.vocabulary)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_jax(tmp_path, name):
    assert compared(config_with_heads(name), tmp_path) < 1e-9


def concat_query(m):
    m.heads.mvc.style, m.pool = "concat_query", "mean+<cls>"
    m.norm, m.domain.affine = "batch", True
    m.metadata = {"organ": {"label": "cell_type", "classes": 2, "place": "token"}}


def sum_query(m):
    m.heads.mvc.update(style="sum_query", outputs=5)
    m.pool, m.domain.affine, m.silent_zeros = "weighted+last", True, True
    m.metadata = {
        "organ": {"label": "cell_type", "classes": 2, "place": "cls"},
        "donor": {"label": "cell_type", "classes": 2, "place": "token"},
        "study": {"label": "cell_type", "classes": 2, "place": "all"},
    }


def special_rows(m):
    m.fields.value = {"kind": "value_mlp", "input": "values", "special_rows": True}
    m.heads.expression = {"kind": "token_parts", "genes": True}
    m.heads.cell_type.update(mlp=True, dropout=0.1)
    m.pool = "pooler"


def plain_mlp(m):
    m.fields.value = {"kind": "value_mlp", "input": "values", "hidden": 9}
    m.encoder.update(norm_first=False, first_norm=True, layer_scale=0.1)


def trainable(m):
    m.fields.value.update(trainable=True, scale=0.5)
    m.heads.sex = {"kind": "token_genes"}
    m.encoder.layers = 1  # the one without its first norm


OPTIONS = {
    concat_query: SCFORMER,
    sum_query: SCFORMER,
    special_rows: WCED,
    plain_mlp: MLM,
    trainable: MLM,
}


@pytest.mark.parametrize("change", OPTIONS, ids=lambda change: change.__name__)
def test_further_options_too(tmp_path, change):
    c = config_with_heads(OPTIONS[change])
    with c.unlocked():
        change(c.model)
    assert compared(c, tmp_path) < 1e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return exported(config_with_heads("txfm_s:tiny"), tmp_path_factory.mktemp("exported"))[1]


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused(folder, tmp_path, what):
    change, message = WRONG[what]
    shutil.copytree(folder, tmp_path / "torch")
    change(tmp_path / "torch")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "torch")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("fields", "gene", "kind"), "external", r"config\.model\.fields\.gene\.kind: 'external'"),
        (("fields", "gene", "knob"), 1, r"config\.model\.fields\.gene: 'lookup' takes .*not knob"),
        (("encoder", "attention"), "local", r"config\.model\.encoder\.attention: 'local'"),
        (("pool",), "max", r"config\.model\.pool: 'max' is unknown here; known are <cls>, cls"),
        (("pool",), "tokens", r"config\.model\.pool: 'tokens' is unknown here"),
        (("heads", "expression", "activation"), "exp", r"heads\.expression\.activation: 'exp'"),
    ],
)
def test_what_is_not_known_is_named(folder, tmp_path, path, value, message):
    shutil.copytree(folder, tmp_path / "torch")
    found = json.loads((folder / "config.json").read_text())
    at = found["config"]["model"]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    where = tmp_path / "torch" / "config.json"
    where.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="config: was changed since the model was exported"):
        load(tmp_path / "torch")
    where.write_text(json.dumps(found | {"config_sha256": config_sha256(found["config"])}))
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "torch")


CHILD = """
import sys
for name in ("jax", "jaxlib", "flax", "ml_collections", "orbax", "optax"):
    sys.modules[name] = None
import numpy as np, scipy.sparse as sp
from jaxcell.conversion.torch_model import load
for folder, given, file in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3], strict=True):
    model, given = load(folder), np.load(given, allow_pickle=True)
    labels = {"batch": given["batch"]} if "batch" in given else None
    found = [model.embed(sp.csr_matrix(given["counts"]), given["genes"], labels=labels)]
    found.append(model.embed(given["counts"][::-1], given["genes"], labels=labels and {
        "batch": given["batch"][::-1]})[::-1])
    found.append(model.embed(given["counts"][4:5], given["genes"], labels=labels and {
        "batch": given["batch"][4:5]}))
    np.savez(file, whole=found[0], turned=found[1], alone=found[2])
    assert len(model.vocabulary) == model.config["model"]["vocabulary"]
"""
OTHERS = (SCFORMER, WCED, "bioformers_decoder:tiny")


@pytest.fixture(scope="module")
def without_jax(trained, tmp_path_factory):
    """{name: (workdir, cells, their vectors, of the reversed cells, and of the fifth alone)}.

    The vectors are of one process where JAX is absent, for all models: to start it costs most.
    """
    base, runs, argv = tmp_path_factory.mktemp("without"), {"trained": trained}, []
    for i, name in enumerate(OTHERS):
        model = model_of(config_with_heads(name))
        model.tables = {}
        save_model(base / f"run{i}", model)
        jaxcell.convert(base / f"run{i}", base / f"run{i}" / "torch", to="torch")
        runs[name] = base / f"run{i}"
    cells = {name: draw_cells(6, 23, 300)[:, 20:].copy() for name in OTHERS}
    cells["trained"] = draw_cells(5, 37, 300)
    cells[SCFORMER].obs["batch"] = np.array(["batch 0", "batch 1"])[np.arange(23) % 2]
    for i, (name, run) in enumerate(runs.items()):
        one = cells[name]
        given = {"counts": one.X.toarray(), "genes": np.array(list(one.var_names), object)}
        given |= {"batch": np.array(one.obs["batch"], object)} if name == SCFORMER else {}
        np.savez(base / f"given{i}.npz", **given)
        argv += [str(run / "torch"), str(base / f"given{i}.npz"), str(base / f"found{i}.npz")]
    done = subprocess.run([sys.executable, "-c", CHILD, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        name: (run, cells[name], np.load(base / f"found{i}.npz"))
        for i, (name, run) in enumerate(runs.items())
    }


def check_vectors(found, ours):
    assert found["whole"].shape == ours.shape
    assert found["whole"].dtype == np.float32
    scale = np.abs(ours).max()
    for one, want in (("whole", ours), ("turned", ours), ("alone", ours[4:5])):
        np.testing.assert_allclose(found[one], want, rtol=0, atol=1e-5 * max(scale, 1), err_msg=one)


@pytest.mark.parametrize("name", ["trained", *OTHERS])
def test_a_model_embeds_the_same_cells_without_jax(without_jax, name):
    """By norms of batches, of which one is unknown; by sequences of as many genes as expressed."""
    run, cells, found = without_jax[name]
    ours = jaxcell.embed(cells.copy(), run, key="X_own", progress=False).obsm["X_own"]
    check_vectors(found, ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, g: (x, [f"x{n}" for n in g]), "counts: no gene matches the vocabulary"),
        (lambda x, g: (x, [n.lower() for n in g]), "match if case were ignored"),
        (lambda x, g: (x, [*g[:-1], g[0]]), "1 genes stand in more than one column: G0"),
        (lambda x, g: (x, g[:-1]), r"shape \(5, 300\) and 299 gene names"),
        (lambda x, g: (x[:, :2], g[:2]), "only 2 of the model's 300 genes were found"),
        (lambda x, g: (np.log1p(x), g), "not raw counts"),
        (lambda x, g: (x - 1, g), "values below zero"),
    ],
)
def test_counts_and_genes_that_do_not_fit_are_refused(trained, change, message):
    cells = draw_cells(5, 5, 300)
    counts, genes = change(cells.X.toarray(), list(cells.var_names))
    with pytest.raises(ValueError, match=message):
        load(trained / "torch").embed(counts, genes)


def test_labels_that_the_model_shows_are_told_or_unknown(tmp_path):
    """Of BioFormer's study: unknown ones are said; without a learned 'unknown' they are refused."""
    c = config_with_heads("bioformer:tiny")
    _, folder = exported(c, tmp_path)
    net, cells = load(folder), draw_cells(5, 5, 300)
    net.tables = {"bin_edges": np.tile(np.linspace(0.5, 9, 50, dtype=np.float32), (384, 1))}
    how = dict(counts=sp.csr_matrix(cells.X), genes=cells.var_names)
    known = net.embed(**how, labels={"dataset": ["dataset 0"] * 5})
    with pytest.warns(UserWarning, match="5 cells have no class that the model knows .*'unknown'"):
        unknown = net.embed(**how)
    assert np.abs(known - unknown).max() > 1e-3
    with pytest.raises(ValueError, match=r"labels\['dataset'\]: found 4, expected 5 cells"):
        net.embed(**how, labels={"dataset": ["dataset 0"] * 4})
    net.config["model"]["metadata"]["study"]["dropout"] = 0
    with pytest.raises(ValueError, match=r"never learned 'unknown' \(model\.metadata\.study"):
        net.embed(**how)


def test_duplicates_and_untrained_genes_are_as_in_embed(trained, tmp_path):
    """A column that stands there twice is added up, and what no training cell measured left out."""
    cells = draw_cells(5, 5, 300)
    counts = cells.X.toarray()
    net, half = load(trained / "torch"), np.floor(counts[:, :1] / 2)
    whole = net.embed(counts, cells.var_names)
    twice = np.concatenate([half, counts[:, 1:], counts[:, :1] - half], axis=1)
    found = net.embed(twice, [*cells.var_names, "G0"], duplicates="sum")
    np.testing.assert_array_equal(found, whole)
    with pytest.warns(UserWarning, match="cells without any count"):
        net.embed(np.where(np.arange(5)[:, None] == 2, 0, counts), cells.var_names)
    net.tables["measured"][:, 5] = False
    with pytest.warns(UserWarning, match="1 matched genes were measured in no training cell"):
        net.embed(counts, cells.var_names)


def test_vectors_do_not_depend_on_padding_or_neighbours(tmp_path):
    """A cell alone, without padding, has the numbers that it has among others."""
    c = config_of("bmfm_rna_wced:tiny,nystrom")
    _, folder = exported(c, tmp_path)
    net, batch = load(folder).double(), batch_of(c)
    with torch.inference_mode():
        whole = net(batch)
        for b, n in enumerate(batch["length"]):
            tokens = {k: batch[k][b : b + 1, :n] for k in ("ids", "values")}
            alone = net({**tokens, "length": batch["length"][b : b + 1]})
            for head, x in (("cell", alone["cell"]), ("tokens", alone["tokens"])):
                want = whole[head][b : b + 1]
                want = want[:, :n] if head == "tokens" else want
                np.testing.assert_allclose(x, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_a_foreign_model_goes_on_to_torch(tmp_path, training):
    """BioFormer's has no special tokens, and a pool that no config of ours has."""
    convert(test_bioformer.write(tmp_path / "theirs", training), tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "torch", to="torch")
    genes, random = test_bioformer.GENES, np.random.default_rng(0)
    counts = random.poisson(1.0, (4, len(genes))).astype(np.float32)
    cells = anndata.AnnData(counts, var=pd.DataFrame(index=list(genes)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # types and studies are unknown
        jaxcell.embed(cells, tmp_path / "ours", key="X", progress=False)
        vectors = load(tmp_path / "torch").embed(counts, genes)
    np.testing.assert_allclose(vectors, cells.obsm["X"], rtol=0, atol=1e-5)
