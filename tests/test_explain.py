"""Integrated gradients: complete, equal to plain torch, a cell's own, and where they are put."""

from types import SimpleNamespace

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from jaxcell import attributions, cli, embed
from jaxcell.attribution import integrate, model_to_explain, pad_of, quadrature
from jaxcell.bench.synthetic import synthetic
from jaxcell.data.ontology import Ontology
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.evaluation.attribution_figures import groups_figure, top_genes, top_genes_figure
from jaxcell.explain import completeness, group_means
from jaxcell.models.cell import CellModel
from jaxcell.outputs import output_of
from jaxcell.training import loop
from jaxcell.training.checkpoint import load_model
from tests.conftest import config_of, draw_cells
from tests.models.test_sequences import Case

KEY = "attributions"
PAD = 2  # of BMFM-RNA's special tokens


def model_of(c):
    """What `output_of` asks of a checkpoint."""
    genes = [f"G{i}" for i in range(c.model.vocabulary)]
    heads = [h for h in c.model.heads.values() if "label" in h]
    labels = {h.label: [f"c{i}" for i in range(h.classes)] for h in heads}
    vocabulary = Vocabulary(genes, [""] * len(genes), c.model.specials)
    return SimpleNamespace(config=c, vocabulary=vocabulary, labels=labels, ontologies={})


def theirs(case, head, target, nodes):
    """The reference's attributions {field: [B, G]}, and its outputs at both ends, by torch."""
    net, front, b = case.torch, len(case.c.model.front), case.batch
    ids, values, length = (torch.from_numpy(np.array(b[k])) for k in ("ids", "values", "length"))
    ids, pads = ids.long(), torch.full_like(ids.long()[:, front:], net.vocabulary + PAD)
    lookup = net.embeddings.lookups["flag"](torch.from_numpy(b["flags"]["perturbed"]).long())
    own = {"gene": net.embeddings.genes(ids), "value": net.embeddings.values(values)}
    base = {"gene": net.embeddings.genes(pads),
            "value": net.embeddings.values(torch.full(pads.shape, -PAD - 1.0))}  # fmt: skip
    own = {k: v.detach() for k, v in own.items()}
    away = {k: v[:, front:] - base[k].detach() for k, v in own.items()}

    def output(parts):
        whole = [torch.cat([own[k][:, :front], parts[k]], dim=1) for k in parts]
        x = net.encoder(net.embeddings.norm(sum(whole) + lookup), length, None)
        return net.labels[head](x, net.pooler(x[:, 0])).log_softmax(-1)[:, target]

    at = lambda share: {k: own[k][:, front:] - (1 - share) * away[k] for k in own}
    found = dict.fromkeys(own, 0)
    torch.set_num_threads(1)  # two on busy cores take 20 times longer
    for share, weight in zip(*quadrature(nodes), strict=True):
        parts = {k: v.requires_grad_() for k, v in at(share).items()}
        slopes = torch.autograd.grad(output(parts).sum(), list(parts.values()))
        for k, slope in zip(parts, slopes, strict=True):
            found[k] = found[k] + weight * (slope * away[k]).sum(-1)
    return found, output(at(1)).detach(), output(at(0)).detach()


def test_it_is_complete_and_equals_plain_torch_in_float64():
    with jax.enable_x64(True):
        case = Case("bmfm_rna_wced:tiny")
        case.c.model.heads.tissue.reverse = 1.0  # a reversed head is explained as any other
        net, output = model_to_explain(case.c.model), output_of(model_of(case.c), "tissue", "c1")
        batch = {k: case.batch[k] for k in ("ids", "values", "length", "flags")}
        run = lambda v, b: integrate(net, output, v, {}, b, PAD, quadrature(32))
        found = jax.jit(run)({"params": case.params, "batch_stats": {}}, batch)
        expected, top, bottom = theirs(case, "tissue", 1, nodes=40)
    np.testing.assert_allclose(found["output"], top, rtol=1e-9)
    np.testing.assert_allclose(found["baseline"], bottom, rtol=1e-9)
    difference = np.asarray(found["output"] - found["baseline"])
    assert np.abs(difference).min() > 1e-3
    sums = sum(np.asarray(a).sum(axis=1) for a in found["fields"].values())
    np.testing.assert_allclose(sums, difference, rtol=1e-9)
    inside = np.arange(batch["ids"].shape[1])[None, 6:] < batch["length"][:, None]
    for field in ("gene", "value"):
        own = found["fields"][field]
        np.testing.assert_allclose(own, np.where(inside, expected[field], 0), rtol=1e-8, atol=1e-12)
        assert (np.asarray(own)[inside] != 0).all()
    assert not np.asarray(found["fields"]["flag"]).any()  # as it is in the baseline


def test_more_steps_of_concatenated_fields_miss_less():
    """From zero vectors; a rectified prediction is smooth while it stays above 0."""
    with jax.enable_x64(True):
        c = config_of("txfm_b:tiny")
        batch, _ = synthetic(c, 384, 8, seed=1)
        batch = {k: np.asarray(batch[k]) for k in ("ids", "values", "length")}
        batch["values"] = np.abs(batch["values"].astype(np.float64))
        net, random = CellModel(c.model), np.random.default_rng(2)
        params = jax.eval_shape(net.init, jax.random.key(0))["params"]
        params = jax.tree.map(lambda a: random.normal(0, 0.4, a.shape), params)
        params["heads"]["expression"]["rows"] *= 0.02  # where the activation is not saturated
        output = output_of(model_of(c), "expression", "G7")
        run = jax.jit(lambda v, b, nodes: integrate(net, output, v, {}, b, None, nodes))
        errors = []
        for steps in (4, 16, 64):
            # Nodes without weight, so that all are one program.
            nodes = [np.pad(a, (0, 64 - steps)) for a in quadrature(steps)]
            found = run({"params": params, "batch_stats": {}}, batch, nodes)
            sums = sum(np.asarray(a).sum(axis=1) for a in found["fields"].values())
            errors.append(completeness(sums, found["output"], found["baseline"]).max())
    assert set(found["fields"]) == {"gene", "value"}
    assert np.abs(np.asarray(found["output"] - found["baseline"])).min() > 1e-3
    assert errors[0] > 1e-3 > errors[1] > 1e-9 > errors[2]


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    c = config_of("bmfm_rna_wced:tiny")
    c.data.store, c.labels, c.steps = str(store.path), ("tissue=kind",), 30
    c.train.validate_every, c.embed.genes = 30, 32
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(c, workdir)
    return workdir


def cells():
    return draw_cells(5, 21, 300)


def explain(adata, trained, **options):
    how = {"output": "tissue", "steps": 8, "progress": False, **options}
    return attributions(adata.copy(), trained, **how)


@pytest.fixture(scope="module")
def explained(trained):
    return explain(cells(), trained, group="kind", fields=True)


def test_a_layer_of_all_that_the_output_gained(explained, trained):
    whole, obs = explained.layers[KEY], explained.obs
    assert (whole.shape, whole.dtype, whole.format) == ((21, 300), np.float32, "csr")
    gained = obs[f"{KEY}_output"] - obs[f"{KEY}_baseline"]
    np.testing.assert_allclose(whole.sum(axis=1), gained.to_numpy()[:, None], rtol=1e-2, atol=1e-5)
    expected = completeness(np.asarray(whole.sum(axis=1)).ravel(), obs[f"{KEY}_output"],
                            obs[f"{KEY}_baseline"])  # fmt: skip
    np.testing.assert_allclose(obs[f"{KEY}_error"], expected, atol=1e-4)
    parts = explained.layers[f"{KEY}_gene"] + explained.layers[f"{KEY}_value"]
    np.testing.assert_allclose(parts.toarray(), whole.toarray(), atol=1e-6)
    # Of each cell's predicted class, its log probability.
    said = embed(cells(), trained, progress=False).obs
    assert (obs[f"{KEY}_target"].astype(str) == said["tissue_pred"].astype(str)).all()
    np.testing.assert_allclose(obs[f"{KEY}_output"], np.log(said["tissue_pred_prob"]), atol=1e-5)
    # Of the expressed genes 32 are shown; nothing is attributed to any other.
    assert not ((whole.toarray() != 0) & (cells().X.toarray() == 0)).any()
    np.testing.assert_array_equal((whole.toarray() != 0).sum(axis=1), 32)


def test_what_it_says_of_itself(explained, trained):
    said = explained.uns["jaxcell"][KEY]
    expected = dict(output="tissue", target="predicted", scale="log_probability", baseline="pad",
                    steps=8, norm="none", group="kind", groups=["kind 0", "kind 1", "kind 2"],
                    checkpoint_hash=load_model(trained).sha256, draws=1)  # fmt: skip
    assert {k: said[k] for k in expected} == expected
    assert said["completeness_error_max"] == pytest.approx(explained.obs[f"{KEY}_error"].max())
    assert said["cells_of_groups"].sum() == 21


def test_means_of_groups(explained):
    dense = explained.layers[KEY].toarray()
    for k, name in enumerate(["kind 0", "kind 1", "kind 2"]):
        mean = dense[(explained.obs["kind"] == name).to_numpy()].mean(axis=0)
        np.testing.assert_allclose(explained.varm[KEY][:, k], mean, atol=1e-6)
    layer = sp.csr_matrix([[1.0, 0, 2], [3, 0, 0], [5, 5, 5], [0, 4, 0]])
    means = group_means(layer, np.array([0, 0, -1, 1]), 2)
    np.testing.assert_allclose(means, [[2, 0, 1], [0, 4, 0]])


def test_a_cells_attributions_are_its_own(explained, trained):
    whole = explained.layers[KEY].toarray()
    order = np.random.default_rng(0).permutation(21)
    for size, some in ((4, order), (256, np.array([13]))):
        found = explain(cells()[some], trained, batch_size=size)
        np.testing.assert_array_equal(found.layers[KEY].toarray(), whole[some])


def test_a_file_by_the_command_line(explained, trained, tmp_path, capsys):
    adata = cells()
    adata.obs.loc[adata.obs_names[:2], "kind"] = np.nan
    adata.write_h5ad(tmp_path / "in.h5ad")
    cli.main(
        ["explain", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad"), "--checkpoint",
         str(trained), "--output", "tissue", "--steps", "8", "--group", "kind", "--unit",
         "--figure", str(tmp_path / "figures")]
    )  # fmt: skip
    assert "out.h5ad" in capsys.readouterr().out
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    whole = explained.layers[KEY].toarray()
    unit = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(found.layers[KEY].toarray(), unit, atol=1e-6)
    kind = found.obs["kind"].astype(str).to_numpy()
    for k, name in enumerate(found.uns["jaxcell"][KEY]["groups"]):  # cells of no group in none
        np.testing.assert_allclose(
            found.varm[KEY][:, k], unit[kind == name].mean(axis=0), atol=1e-6
        )
    assert found.uns["jaxcell"][KEY]["norm"] == "l2"
    np.testing.assert_array_equal(found.X.toarray(), adata.X.toarray())
    drawn = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert drawn == ["groups.png", "top_genes.png"]


def test_another_output_of_too_few_steps_in_place_of_the_first(explained, trained):
    with pytest.warns(UserWarning, match="is replaced|is removed|miss the diff") as said:
        found = explain(explained, trained, output="expression.is_zero", target="G7", steps=1)
    said = " ".join(str(one.message) for one in said)
    assert "layers['attributions'] was there and is replaced" in said
    for name in ("obs['attributions_target']", "layers['attributions_gene']"):
        assert f"{name} was there and is removed" in said
    assert not {f"{KEY}_gene", f"{KEY}_value"} & set(found.layers)
    assert f"{KEY}_target" not in found.obs
    assert "cells miss the difference that they should sum to by more than 1%" in said
    assert found.uns["jaxcell"][KEY]["target"] == "G7"
    assert np.abs(found.layers[KEY].toarray() - explained.layers[KEY].toarray()).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"output": "age"}, "output: found 'age', expected one of cell, tissue, expression.expr"),
        ({"output": "expression.sd", "target": "G1"}, "output: found 'expression.sd', expected"),
        ({"target": "kind 9"}, "target: found 'kind 9', expected a class of tissue: kind 0, kind"),
        ({"output": "expression"}, "target: found none, expected a gene"),
        ({"output": "expression", "target": "CD3"}, "'CD3' is not among the 300 genes"),
        ({"output": "expression", "target": "<cls>"}, "special token '<cls>', expected a gene"),
        ({"output": "cell", "target": "32"}, "target: found '32', expected a component .* 0 … 31"),
        ({"output": "cell", "scale": "logit"}, "scale: found 'logit', expected none"),
        ({"scale": "odds"}, "scale: found 'odds', expected one of log_probability"),
        ({"group": "sort"}, r"no obs column 'sort'; it has \['kind', 'batch'\]"),
        ({"baseline": "mask"}, "baseline: found 'mask', expected one of pad, zero"),
        ({"baseline": "zero"}, "baseline: found 'zero', expected 'pad'"),
        ({"steps": 0}, "steps: found 0"),
        ({"counts": "raw"}, "counts: found 'raw', expected X or layers/NAME"),
        ({"key": "a/b"}, "key: found 'a/b'"),
    ],
)
def test_what_cannot_be_explained_is_refused(trained, options, text):
    with pytest.raises(ValueError, match=text):
        explain(cells(), trained, **options)


def test_baselines_of_models_without_a_pad():
    c = config_of("txfm_b:tiny")
    assert pad_of(c.model) == ("zero", None)
    with pytest.raises(ValueError, match="found 'pad', expected 'zero': this model's fields have"):
        pad_of(c.model, "pad")
    c.model.heads.expression.activation = "softmax"  # genes share a sum
    with pytest.raises(ValueError, match="output: found 'expression', expected one of cell$"):
        output_of(model_of(c), "expression", "G1")


#  cell: a, b (both inner), a: a1, a2; b: a2, b1
ONTOLOGY = Ontology(
    tuple(f"CL:{i}" for i in range(6)),
    ("cell", "a", "b", "a1", "a2", "b1"),
    ((), (0,), (0,), (1,), (1, 2), (2,)),
    ((), ("alpha",), (), (), (), ()),
    "small",
)


def value_of(output, logits):
    outputs = {"cell": jnp.zeros((len(logits), 1)), "heads": {output.heads[0]: jnp.array(logits)}}
    return np.asarray(output.value(outputs, output.choose(outputs)))


def test_terms_of_an_ontology():
    c = config_of("bmfm_rna_wced:tiny")
    model = model_of(c)
    model.ontologies = {"cell_type": ONTOLOGY}
    logits = np.random.default_rng(0).normal(0, 2, (7, 3)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    mass = ONTOLOGY.node_probabilities(p)
    for name in ("a", "b", "a2"):
        one = output_of(model, "cell_type", name, "probability")
        node = ONTOLOGY.names.index(name)
        np.testing.assert_allclose(value_of(one, logits), mass[:, node], rtol=1e-5)
    logged = output_of(model, "cell_type", "ALPHA")
    assert (logged.target, str(logged)) == ("a", "log probability of cell_type = a")
    np.testing.assert_allclose(value_of(logged, logits), np.log(mass[:, 1]), rtol=1e-4)
    own = output_of(model, "cell_type", scale="logit")  # the predicted leaf's
    np.testing.assert_allclose(value_of(own, logits), logits.max(axis=1), rtol=1e-6)
    assert own.classes == ("a1", "a2", "b1")
    with pytest.raises(ValueError, match="expected a term of small above the labels of cell_type"):
        output_of(model, "cell_type", "c")
    with pytest.raises(ValueError, match="'cell', which has every leaf of cell_type"):
        output_of(model, "cell_type", "cell")


def test_terms_of_a_head_of_sigmoids():
    """A leaf's own sigmoid; of a term that of its leaves' logsumexp, which its loss pushes to 1."""
    model = model_of(config_of("bmfm_rna_wced:tiny,sigmoids"))
    model.ontologies = {"cell_type": ONTOLOGY}
    logits = np.random.default_rng(0).normal(0, 2, (7, 3)).astype(np.float32)
    for name, leaves in (("a2", [1]), ("a", [0, 1]), ("cell", [0, 1, 2])):
        one = output_of(model, "cell_type", name, "probability")
        odds = np.exp(logits[:, leaves]).sum(axis=1)
        np.testing.assert_allclose(value_of(one, logits), odds / (1 + odds), rtol=1e-5)


def test_components_of_a_joined_pool():
    model = model_of(config_of("bmfm_rna_wced:tiny"))
    width = model.config.model.width
    with pytest.raises(ValueError, match=f"found '{width}', expected a component"):
        output_of(model, "cell", str(width))
    model.config.model.pool = "cls+mean"
    cell = np.arange(4.0 * width).reshape(2, -1)
    one = output_of(model, "cell", str(width + 1))
    np.testing.assert_array_equal(one.value({"cell": cell}, None), cell[:, width + 1])


def test_numbers_and_several_names_at_once():
    c = config_of("bmfm_rna_wced:tiny")
    c.targets = {"tissue": "several", "sex": "number"}
    model = model_of(c)
    model.labels |= {"tissue": ["lung", "gut|lung", "gut"], "sex": ["1", "2"]}
    logits = np.array([[0.5, -1], [2, 3]], np.float32)
    lung = output_of(model, "tissue", "lung", "probability")
    np.testing.assert_allclose(value_of(lung, logits), 1 / (1 + np.exp(-logits[:, 1])), rtol=1e-6)
    number = output_of(model, "sex")
    np.testing.assert_allclose(value_of(number, logits), logits[:, 0])
    with pytest.raises(ValueError, match="target: found '2', expected none: sex is a number"):
        output_of(model, "sex", "2")


def test_completeness_by_hand():
    found = completeness(np.array([1.1, 0.0, 0.0, 1e-6]), [3, 5, 0, 8], [2, 5, 0, 8])
    np.testing.assert_allclose(found, [0.1, 0, 0, 1e-6 / 8e-3], rtol=1e-6)


def test_top_genes_and_pictures_of_any_size(tmp_path):
    means = np.array([[0.0, 3, -4, 1], [0, 0, 0, 0]])
    assert [of.tolist() for of in top_genes(means, 2)] == [[1, 2], []]
    genes = [f"a gene of a long name {i}" for i in range(40)]
    random = np.random.default_rng(0).normal(size=(30, 40))
    groups = [f"a group of cells of quite a long name {i}" for i in range(30)]
    for n, draw in enumerate((top_genes_figure, groups_figure)):
        for k, values in enumerate((random, random[:1], np.zeros((2, 40)))):
            path = tmp_path / f"{n}{k}.png"
            draw(path, "title", "caption", groups[: len(values)], values, genes)
            assert path.stat().st_size > 1000
