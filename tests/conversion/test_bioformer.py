"""Checkpoints of BioFormer, written by an independent model of it: same numbers, or a refusal."""

import functools

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell.cli import main
from jaxcell.conversion.convert import FAMILIES, variables_of
from jaxcell.conversion.files import read_source
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import load_model

torch = pytest.importorskip("torch")

from tests.reference import bioformer_published as reference  # noqa: E402
from tests.reference.test_bmfm_reference import drawn  # noqa: E402

V, D, HEADS, FFN, LAYERS, TYPES, STUDIES, BINS = 9, 16, 8, 12, 2, 4, 3, 51
GENES = [f"ENSG{i:011d}" for i in (5, 3, 8, 1, 9, 2, 7, 4, 6)]  # not in the order of their names
ACCURACY = 1e-9
SEEN = pytest.mark.filterwarnings("ignore:.*shown as 'unknown'")


def model_of(training):
    studies = STUDIES if training else 0
    return drawn(reference.Published(V, D, HEADS, LAYERS, FFN, TYPES, studies, BINS))


def write(folder, training=True, state=None, genes=GENES):
    """What the trainer saves, under the names of a model on several GPUs; and the list."""
    folder.mkdir(exist_ok=True)
    state = dict(model_of(training).state_dict() if state is None else state)
    saved = {"model_state_dict": {f"module.{k}": x for k, x in state.items()}, "epoch": 9}
    saved["optimizer_state_dict"] = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}
    torch.save({**saved, "losses": {"total": [1.5, 1.25]}}, folder / "checkpoint.pt")
    (folder / "selected_genes.txt").write_text("".join(f"{gene}\n" for gene in genes))
    return folder


@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_the_references(tmp_path, training):
    source, made_by = read_source(write(tmp_path / "theirs", training)), FAMILIES["bioformer"]
    recognised = [name for name, one in FAMILIES.items() if one.recognises(source)]
    assert recognised == ["bioformer"]
    described = made_by.describe(source)
    variables, used, left_out = variables_of(source.tensors, described, made_by, np.float64)
    assert set(used) == set(source.tensors) == set(model_of(training).state_dict())
    assert not left_out
    random = np.random.default_rng(0)
    bins = random.integers(0, 6, (4, V)).astype(float)
    live, codes = bins > 0, np.array([1, 0, 3, 2])
    live[:, 2], values = True, bins.copy()
    values[:, 2], bins[:, 2] = -1, 0  # a hidden value shows the bin of zero
    labels = {"released_cell_type": codes, "dataset": np.array([0, 2, 1, 1])}
    batch = {"ids": np.tile(np.arange(V, dtype=np.int32), (4, 1)), "values": values}
    batch |= {"length": np.full(4, V), "labels": labels, "expressed": live}
    with jax.enable_x64(True):
        variables = jax.tree.map(jnp.asarray, variables)
        model = CellModel(described.config.model)
        run = jax.jit(functools.partial(model.apply, train=False, tokens=True))
        ours, _ = run(variables, batch, {})
        ours = jax.tree.map(np.asarray, {**ours.pop("heads"), **ours})
    theirs = model_of(training)(bins, live, codes, labels["dataset"])
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        np.testing.assert_allclose(x, theirs[name].detach(), rtol=0, atol=ACCURACY, err_msg=name)
    np.testing.assert_array_equal(ours["cell"], ours["tokens"][:, 0])


def test_what_a_checkpoint_is_said_to_be(tmp_path, capsys):
    genes = tmp_path / "list.txt"
    genes.write_text("\n".join(["", *(f"{gene}.2" for gene in GENES)]))
    folder = write(tmp_path / "theirs")
    (folder / "selected_genes.txt").unlink()
    main(["convert", str(folder), str(tmp_path / "out"), "--genes", str(genes), "--heads", "4"])
    said = capsys.readouterr().out
    assert "no tensor tells the heads of attention: 4\n" in said
    assert "the released evaluation fed it the true one, which its scores leak" in said
    model = load_model(tmp_path / "out")
    c = model.config
    assert model.vocabulary.names == tuple(GENES)
    assert (c.model.specials, c.model.front, c.model.pool) == ((), (), "first")
    assert (c.data.bin.method, c.data.bin.number) == ("cell_low", BINS)
    assert (c.model.encoder.heads, c.batch, c.labels) == (4, "dataset", ("study",))
    assert set(c.model.metadata) == {"cell_type", "study"}
    assert set(model.labels) == {"released_cell_type", "dataset"}
    made = jaxcell.convert(write(tmp_path / "other", False), tmp_path / "evaluated", genes=GENES)
    assert "8, as published" in str(made)
    c = load_model(tmp_path / "evaluated").config
    assert (set(c.model.metadata), set(c.losses)) == ({"cell_type"}, {"mlm", "regression"})


@SEEN
@pytest.mark.parametrize("training", [True, False])
def test_embeddings_are_of_position_zero(tmp_path, training):
    """Whatever the batch size, the order of the file's genes, and which of them it lacks."""
    jaxcell.convert(write(tmp_path / "theirs", training), tmp_path / "out")
    model, random = model_of(training), np.random.default_rng(1)
    counts = random.poisson(1.2, (7, V)).astype(np.float32)
    for lacks, batch_size in (([], 7), ([], 2), ([0, 4], 3)):
        mine = counts.copy()
        mine[:, lacks] = 0
        bins = np.stack([reference.bins_of(row, BINS) for row in mine])
        want = model(bins, mine > 0)["cell"].detach().numpy()
        columns = random.permutation(np.setdiff1d(np.arange(V), lacks))
        var = pd.DataFrame(index=[*(GENES[i] for i in columns), "ENSG00000000099"])
        shown = np.c_[mine[:, columns], random.poisson(3.0, 7)].astype(np.float32)
        adata = anndata.AnnData(shown, var=var)
        adata.obs["cell_type"] = [f"class {i % TYPES}" for i in range(7)]  # which nobody reads
        jaxcell.embed(adata, tmp_path / "out", batch_size=batch_size, progress=False)
        found = adata.obsm["X_bioformer"]
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


@SEEN
def test_a_type_is_shown_only_where_it_is_asked_for(tmp_path):
    names = ["T", "B", "NK", "monocyte"]
    jaxcell.convert(write(tmp_path / "theirs", False), tmp_path / "out", classes=names)
    counts = np.random.default_rng(2).poisson(1.2, (4, V)).astype(np.float32)
    bins = np.stack([reference.bins_of(row, BINS) for row in counts])
    adata = anndata.AnnData(counts, var=pd.DataFrame(index=GENES))
    adata.obs["released_cell_type"] = ["NK", "T", "T", "B"]
    jaxcell.embed(adata, tmp_path / "out", progress=False)
    want = model_of(False)(bins, counts > 0, np.array([2, 0, 0, 1]))["cell"].detach()
    np.testing.assert_allclose(adata.obsm["X_bioformer"], want, rtol=0, atol=1e-5)


BIAS = "transformer.layers.1.linear1.bias"


def changed(what):
    """A change of the tensors, written back."""

    def apply(folder):
        state = dict(model_of(True).state_dict())
        what(state)
        write(folder, state=state)

    return apply


def listed(genes):
    return lambda folder: write(folder, genes=genes)


def cut(name, rows):
    return changed(lambda s: s.update({name: s[name][:rows]}))


REFUSED = {
    "missing": (changed(lambda s: s.pop(BIAS)), rf"{BIAS} is missing"),
    "no types": (
        changed(lambda s: s.pop("cell_type_embedding.weight")),
        "cell_type_embedding.weight is missing, which every checkpoint of BioFormer has",
    ),
    "no genes": (changed(lambda s: s.pop("gene_embedding.weight")), "gene_embedding.* is missing"),
    "no adversary": (changed(lambda s: s.pop("adv_head.weight")), "adv_head.weight is missing"),
    "no study": (changed(lambda s: s.pop("study_embedding.weight")), "adv_head.bias is unexpected"),
    "renamed": (changed(lambda s: s.update(other=s.pop(BIAS))), "other is unexpected"),
    "shape": (changed(lambda s: s.update({BIAS: s[BIAS][:5]})), rf"{BIAS} has shape \(5,\)"),
    "studies": (cut("adv_head.weight", 2), "numbers of studies .*: 3, adv_head.weight: 2"),
    "bins": (cut("mlm_head.weight", 50), r"mlm_head.weight has shape \(50, 16\)"),
    "perturbation": (
        changed(lambda s: s.update({"perturb_embedding.weight": s["adv_head.weight"]})),
        "perturb_embedding.weight is of BioFormer's perturbation model",
    ),
    "absent": (
        lambda f: (f / "selected_genes.txt").unlink(),
        "selected_genes.txt: does not exist; .* the list of the 9 genes there, one a line",
    ),
    "short": (listed(GENES[1:]), "selected_genes.txt: found 8 genes, expected 9"),
    "twice": (
        listed([*GENES[1:], GENES[3]]),
        f"selected_genes.txt: the vocabulary names 1 genes or specials twice: {GENES[3]}",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_names_what_is_wrong_and_writes_nothing(tmp_path, what):
    spoil, message = REFUSED[what]
    folder = write(tmp_path / "theirs")
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        jaxcell.convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_that_do_not_fit(tmp_path):
    folder = write(tmp_path / "theirs")
    for given, message in (
        (dict(heads=3), "heads: found 3, expected a divisor of the width, 16"),
        (dict(heads=0), "heads: found 0"),
        (dict(genes=GENES[:4]), "genes: found 4 genes, expected 9"),
        (dict(genes=tmp_path / "none.txt"), "none.txt: does not exist"),
        (dict(clip=3), "clip: found 3, expected none: bioformer is not scformer"),
        (dict(family="scformer", genes=GENES), "genes: found some, .*: scformer is not bioformer"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxcell.convert(folder, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()
