"""Checkpoints of BMFM-RNA, written by an independent model of it: same numbers, or a refusal."""

import functools
import resource
import time

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell import config
from jaxcell.cli import main
from jaxcell.conversion.convert import FAMILIES, variables_of
from jaxcell.conversion.files import read_source
from jaxcell.models.cell import CellModel, count_parameters
from jaxcell.training.checkpoint import load_model

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tests.conversion import bmfm  # noqa: E402
from tests.conversion.bmfm import (  # noqa: E402
    DECODERS,
    GENES,
    LABEL,
    LABELS,
    VARIANTS,
    WIDTH,
    model_of,
    write,
)
from tests.reference.bmfm_published import Published, ScaleAdapt  # noqa: E402
from tests.reference.test_bmfm_reference import drawn  # noqa: E402

FAMILY = FAMILIES["bmfm_rna"]


def described_and_read(folder):
    source = read_source(folder)
    assert FAMILY.recognises(source)
    source = FAMILY.migrated(source)
    return FAMILY.describe(source), source


def worst_difference(folder, model, words, cells=None):
    """The largest difference of all outputs in float64; every tensor must have been used."""
    described, source = described_and_read(folder)
    variables, used, left_out = variables_of(source.tensors, described, FAMILY, np.float64)
    assert set(used) | set(left_out) == set(source.tensors)
    assert all(name.endswith("expressions_embeddings.basis") for name in left_out)
    cells = cells or bmfm.Cells(words, described)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        apply = CellModel(described.config.model).apply
        run = jax.jit(functools.partial(apply, train=False, tokens=True))
        ours, _ = run(jax.tree.map(jnp.asarray, variables), cells.our_batch(), {})
        ours = jax.tree.map(np.asarray, ours)
    with torch.no_grad():
        theirs = model(*cells.their_batch())
    found = max(np.abs(a - b).max() for a, b in pairs(ours, theirs, cells, described))
    print(f"{folder.name}: {found:.1e}")
    return found


def pairs(ours, theirs, cells, described):
    """Each output of ours and the same of theirs; all of theirs must have their like."""
    length = [len(cell) for cell in cells.ours]

    def each_token(a, b):
        for row, want in enumerate(cells.in_our_order(b)):
            yield a[row, : length[row]], want.numpy()

    yield from each_token(ours["tokens"], theirs["tokens"])
    yield ours["cell"], theirs["cell"].numpy()
    parts, rows, known = dict(ours["heads"].get("expression", {})), described.rows, set()
    genes = np.flatnonzero(rows < described.config.model.vocabulary)
    for name, x in theirs["heads"].items():
        if name == "expressions_wced":
            for number, part in enumerate(("expression", "is_zero")):
                yield parts.pop(part)[:, rows[genes]], x[:, genes, number].numpy()
        elif name == "genes_token_scores":
            yield from each_token(parts.pop("genes")[..., rows], x)
        else:
            part = {"regression": "expression"}.get(name.partition("_")[2], "is_zero")
            yield from each_token(parts.pop(part)[..., None], x)
    assert not parts
    for label, logits in theirs["labels"].items():
        head = label.replace(" ", "_")
        yield ours["heads"][head], logits.numpy()
        known.add(head)
    assert ours["heads"].keys() - {"expression"} == known


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_are_the_references(tmp_path, name):
    folder = write(tmp_path / "theirs", name)
    assert worst_difference(folder, model_of(name), VARIANTS[name][1]) < 1e-9


def test_a_checkpoint_of_lightning_is_read_with_its_settings(tmp_path):
    """Pickled objects of their packages are values; labels' classes come with them."""
    losses = [
        {"label_column_name": "tissue", "name": "focal", "weight": 0.5},
        {"label_column_name": "cell_type_ontology_term_id", "name": "hce"},
        {"label_column_name": "donor_id", "name": "focal"},
        {"field_name": "expressions", "name": "mse"},
    ]
    told = {
        "trainer_config": {"losses": losses},
        "label_dict": {"tissue": {"lung": 1, "skin": 0, "gut": 2}, "sex": {"f": 0, "m": 1}},
    }
    folder = write(tmp_path / "theirs", "llama wced", told=told)
    assert worst_difference(folder, model_of("llama wced"), bmfm.NEW) < 1e-9
    types = [f"CL:{k}" for k in range(5)]
    made = jaxcell.convert(folder, tmp_path / "out", classes={"cell_type_ontology_term_id": types})
    assert "left out: core.encoder.embeddings.expressions_embeddings.basis" in str(made)
    assert "sex has no loss in the settings" in str(made)
    model = load_model(tmp_path / "out")
    c = model.config
    assert c.model.front == ("<cls>", *(f"<cls_{k}>" for k in range(4)), "<sep>")
    assert (c.model.vocabulary, len(c.model.specials)) == (GENES + 2, 36)
    assert model.vocabulary.ensembl[3] == "ENSG00000000003"
    assert model.labels["tissue"] == ["skin", "lung", "gut"]
    assert model.labels["cell_type_ontology_term_id"] == types
    assert model.labels["donor_id"] == [f"class {k}" for k in range(4)]
    heads = {name: (h.reads, h.reverse) for name, h in c.model.heads.items() if "label" in h}
    assert heads == {
        "cell_type_ontology_term_id": ("<cls_0>", 0.0),
        **{"tissue": ("<cls_1>", 0.0), "tissue_general": ("<cls_1>", 0.0)},
        **{"donor_id": ("<cls_2>", 0.5), "sex": ("<cls_3>", 0.0)},
    }
    assert c.model.heads.tissue_general.label == "tissue general"
    kinds = {k: (one.kind, one.weight) for k, one in c.losses.items() if k in heads}
    assert kinds["tissue"] == ("focal", 0.5)
    assert kinds["cell_type_ontology_term_id"] == ("cross_entropy", 1.0)
    assert kinds["sex"] == ("cross_entropy", 0.0)
    assert c.data.transforms == ("normalise", "sequence")
    assert (c.data.normalise.library_size, c.data.normalise.pseudo_total) == (1e4, 1.0)
    assert c.model.encoder.heads == bmfm.HEADS


def test_older_settings_by_their_names(tmp_path):
    """Of version 1: other names of the same, and modes as a list."""
    settings = bmfm.settings_of("bert v1")
    for one in settings["label_columns"]:
        one["output_size"] = one.pop("n_unique_values")
    field = settings["fields"][1]
    field["continuous_value_encoder_kwargs"] = field.pop("encoder_kwargs")
    field["masked_output_modes"] = list(field.pop("decode_modes"))
    settings["hidden_dropout_prob"] = 0.2
    folder = write(tmp_path / "theirs", "bert v1", settings=settings, told={})
    described, _ = described_and_read(folder)
    c = described.config
    assert c.data.draw_masks.fields == ("values", "genes")
    assert c.model.encoder.dropout == c.model.dropout == 0.2
    assert c.model.fields.value.special_rows
    assert c.targets.age == "number"
    assert c.model.heads.donor_id.reverse == 1.5
    assert worst_difference(folder, model_of("bert v1"), bmfm.OLD) < 1e-9
    field["continuous_value_encoder_kwargs"] = {"zero_as_special_token": False}
    folder = write(tmp_path / "other", "bert v1", settings=settings)
    with pytest.raises(ValueError, match="config.json: encoder_kwargs: zero_as_special_token"):
        described_and_read(folder)


def test_a_cell_of_known_depth(tmp_path):
    described, _ = described_and_read(write(tmp_path / "theirs", "bert rda"))
    c = described.config
    assert c.model.specials == ("<unk>", "<sep>", "<pad>", "<cls>", "<mask>", "<s>", "<t>")
    assert c.model.front == ("<cls>", "<sep>", "<s>", "<t>")
    assert c.data.transforms == ("thin", "normalise", "sequence", "draw_masks")
    assert c.model.fields.value.trainable
    assert len(described.vocabulary) == GENES


def test_what_is_not_told_is_assumed_and_said(tmp_path):
    """Weights and tokenizer alone; and decoders that have no like here."""
    state = model_of("llama wced").state_dict()
    state[f"{DECODERS}.expressions_mvc_regression.gene_to_query.bias"] = torch.ones(WIDTH)
    folder = write(tmp_path / "theirs", "llama wced", state, settings={})
    made = jaxcell.convert(folder, tmp_path / "out")
    assert "expressions_mvc_regression.gene_to_query.bias: decoders of" in str(made)
    assert "losses of labels are assumed to be cross-entropy" in str(made)
    assert "heads, dropout and what labels read are assumed" in str(made)
    assert "cell_type_ontology_term_id: 1, tissue: 2, tissue general: the pooler" in str(made)
    c = load_model(tmp_path / "out").config
    assert c.model.heads.sex.reads == "<cls_3>"
    assert c.model.heads.donor_id.reverse == 1.0
    assert c.model.encoder.heads == 1


def test_an_old_checkpoint_of_masked_values(tmp_path):
    """Before labels: the head one level higher, and no pooler; ours is made up, the identity."""
    model = model_of("bert rda")
    state = {
        name.replace("predictions.predictions", "predictions"): x
        for name, x in model.state_dict().items()
        if "pooler" not in name
    }
    folder = write(tmp_path / "theirs", "bert rda", state)
    assert worst_difference(folder, model, bmfm.OLD) < 1e-9
    made = jaxcell.convert(folder, tmp_path / "out")
    assert "has no pooler" in str(made)
    pool = load_model(tmp_path / "out").variables["params"]["pool"]["dense"]
    np.testing.assert_array_equal(pool["kernel"], np.eye(WIDTH))
    np.testing.assert_array_equal(pool["bias"], 0)


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("several", [True, False])
def test_old_classifiers(tmp_path, kind, several):
    """Labels alone, of an encoder by other names; one classifier that does not name its label."""
    labels = {"tissue": dict(classes=3, hidden=several)}
    labels |= {"sex": dict(classes=2)} if several else {}
    words, values = bmfm.OLD, bmfm.SpecialMlp(WIDTH, 5)
    sizes = (len(words), WIDTH, bmfm.LAYERS, bmfm.HEADS, bmfm.HIDDEN)
    model = drawn(Published(kind, *sizes, values, {}, labels))
    state = {k: x for k, x in model.state_dict().items() if not k.startswith("cls.predictions")}
    if several:
        state = {
            k.replace(f"{LABEL}.", "classifiers.").replace(".decoder.", ".").replace(
                "scbert.", "base_model." if k.startswith("scbert.pooler") else "base_model.model."
            ): x
            for k, x in state.items()
        }  # fmt: skip
        state = {f"base_model.{k}" if k.startswith("core.") else k: x for k, x in state.items()}
    else:
        state = {k.replace(f"{LABEL}.tissue.decoder", "classifier"): x for k, x in state.items()}
    settings = bmfm.settings_of("bert mlp")
    settings["label_columns"] = [{"label_column_name": label} for label in labels]
    folder = write(tmp_path / "theirs", "bert mlp", state, settings)
    assert worst_difference(folder, model, words) < 1e-9
    described, _ = described_and_read(folder)
    config.check(described.config)
    assert described.config.labels == tuple(labels)
    if not several:
        settings["label_columns"] = None
        made = jaxcell.convert(write(folder, "bert mlp", state, settings), tmp_path / "unnamed")
        assert "nothing names the label of the classifier: here it is 'label'" in str(made)
        settings["label_columns"] = [{"label_column_name": label} for label in labels]
        settings["label_columns"].append({"label_column_name": "sex"})
        write(folder, "bert mlp", state, settings)
        with pytest.raises(ValueError, match=r"classifier\.\w+ is of one label.*names 2: tiss"):
            jaxcell.convert(folder, tmp_path / "out")


def test_from_the_command_line_to_embeddings(tmp_path, capsys):
    """Names of one label's classes from a file; safetensors are preferred."""
    folder, model = write(tmp_path / "theirs", "llama wced"), model_of("llama wced").float()
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    names = tmp_path / "names.txt"
    names.write_text("\n".join("abcde"))
    asked = ["convert", str(folder), str(tmp_path / "out"), "--classes"]
    with pytest.raises(SystemExit, match="found a, expected LABEL=FILE"):
        main([*asked, f"sex={names}", "a"])
    main([*asked, f"cell_type_ontology_term_id={names}"])
    assert f"{GENES + 2} genes" in capsys.readouterr().out
    adata, found = embedded(tmp_path / "out", "llama wced", model)
    best = [int(one["labels"]["cell_type_ontology_term_id"].argmax()) for one in found]
    assert adata.obs["cell_type_ontology_term_id_pred"].tolist() == ["abcde"[k] for k in best]
    assert "donor_id_pred" not in adata.obs  # reversed


@pytest.mark.parametrize("name", ["bert v1", "bert rda"])
def test_embeddings(tmp_path, name):
    model = model_of(name).float()
    folder = write(tmp_path / "theirs", name, model.state_dict())
    jaxcell.convert(folder, tmp_path / "out")
    adata, found = embedded(tmp_path / "out", name, model)
    if name == "bert v1":
        want = [float(one["labels"]["age"][0, 0]) for one in found]
        np.testing.assert_allclose(adata.obs["age_pred"], want, rtol=1e-5)


def embedded(checkpoint, name, model):
    """Cells with our vectors, which are the reference's for their expressed genes, and its own."""
    words = VARIANTS[name][1]
    genes = [word.partition(".")[0] for word in bmfm.NAMES]
    counts = np.random.default_rng(3).poisson(1.5, (5, GENES)).astype(np.float32)
    var = pd.DataFrame({"ensembl": ["", genes[1], *[""] * (GENES - 2)]}, index=genes)
    adata = jaxcell.embed(anndata.AnnData(counts, var=var), checkpoint, progress=False)
    (key,) = adata.obsm
    first = ["[CLS]", *(f"[CLS_{k}]" for k in range(4 if name == "llama wced" else 0))]
    depth = ["[S]", "[T]"] if name == "bert rda" else []
    outputs = []
    for got, row in zip(adata.obsm[key], counts, strict=True):
        there, total = np.flatnonzero(row), row.sum()
        shown = [*first, *depth, *(bmfm.NAMES[i] for i in there), "[SEP]"]
        ids = torch.tensor([[words.index(word) for word in shown]])
        values = -1 - ids.float()
        # In float64 and rounded once: the highest frequencies tell any two values apart.
        scaled = np.log1p(row[there].astype(float) * (1e4 / (total + (not depth))))
        inside = np.r_[[np.log1p(total)] * len(depth), scaled]
        values[0, len(first) : -1] = torch.from_numpy(inside).float()
        with torch.no_grad():
            outputs.append(model(ids, values, torch.ones_like(ids, dtype=bool)))
        want = outputs[-1]["cell"][0].numpy()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    return adata, outputs


@pytest.mark.slow
def test_a_checkpoint_of_published_size(tmp_path):
    """LLaMA, whole cells, 19 321 tokens: as many parameters as published, and the same outputs."""
    began, genes = time.perf_counter(), 19_321 - 38
    words = [*bmfm.NEW[:38], *(f"G{i}" for i in range(genes))]
    decoders = {"expressions_wced": 2 * len(words)}
    sizes = (len(words), 384, 12, 12, 1024)
    torch.manual_seed(0)
    model = Published("llama", *sizes, ScaleAdapt(384, 36, False), decoders, LABELS)
    model = model.double().eval()
    found = bmfm.settings_of("llama wced")
    found |= {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12}
    folder = write(tmp_path / "theirs", "llama wced", model.state_dict(), found, words=words)
    described, _ = described_and_read(folder)
    assert count_parameters(described.config.model, labels=False) == 43_887_218
    cells = bmfm.Cells(words, described, genes=(64, 50))
    assert worst_difference(folder, model, words, cells) < 1e-9
    made = jaxcell.convert(folder, tmp_path / "out")
    assert made.parameters == 43_887_218 + sum(385 * one["classes"] for one in LABELS.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.perf_counter() - began:.0f} s, peak memory {peak:.1f} GB")
