"""Checkpoints of BMFM-RNA that are not converted: what is wrong is named, nothing is written."""

import os

import numpy as np
import pytest

import jaxcell

torch = pytest.importorskip("torch")

from tests.conversion import bmfm  # noqa: E402
from tests.conversion.bmfm import DECODERS, LABEL, model_of, write  # noqa: E402


def change(what, name="llama wced"):
    """A change of the tensors, written back."""

    def apply(folder):
        state = model_of(name).state_dict()
        what(state)
        write(folder, name, state)

    return apply


def settings(what, name="llama wced", **written):
    """A change of the settings, written back."""

    def apply(folder):
        found = bmfm.settings_of(name)
        what(found)
        write(folder, name, settings=found, **written)

    return apply


def column(label, **content):
    """A change of what the settings say of a label."""

    def what(found):
        next(o for o in found["label_columns"] if o["label_column_name"] == label).update(content)

    return settings(what)


def pickled(make, package="bmfm_targets"):
    """Hyper-parameters with an object: ``make`` gets the folder and classes of a package."""

    def apply(folder):
        (folder / "pytorch_model.bin").unlink()
        with bmfm.their_classes(package) as classes:
            found = bmfm.hyper_parameters(bmfm.settings_of("llama wced"), classes)
            found["more"] = make(folder, classes)
            content = {"state_dict": {}, "hyper_parameters": found}
            torch.save(content, folder / "last.ckpt")

    return apply


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class Shell:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


BIAS = "cls.predictions.predictions.transform.dense.bias"
KEY = "scbert.encoder.layer.1.attention.self.key"
BASIS = "core.encoder.embeddings.expressions_embeddings.basis"
SPECIALS = "core.encoder.embeddings.expressions_embeddings.special_token_embeddings.weight"
SEX = f"{LABEL}.sex.decoder"
REFUSED = {
    "missing": (change(lambda s: s.pop(BIAS)), rf"{BIAS} is missing"),
    "renamed": (change(lambda s: s.update(other=s.pop(BIAS))), "other is unexpected"),
    "shape": (change(lambda s: s.update({BIAS: s[BIAS][:5]})), rf"{BIAS} has shape \(5,\)"),
    "nan": (change(lambda s: s[BIAS].fill_(np.nan)), rf"{BIAS} holds NaN"),
    "a block's norm": (
        change(lambda s: s.pop("core.encoder.blocks.2.rms_1.scale")),
        r"core\.encoder\.blocks\.2\.rms_1\.scale is missing",
    ),
    "the first norm": (
        change(lambda s: s.update({"core.encoder.blocks.0.rms_1.scale": s[BIAS]})),
        r"blocks\.0\.rms_1\.scale is unexpected",
    ),
    "memory tokens": (
        change(lambda s: s.update({"core.encoder.aux_tokens": s[BIAS]})),
        r"core\.encoder\.aux_tokens is unexpected",
    ),
    "key": (change(lambda s: s.pop(f"{KEY}.weight"), "bert v1"), rf"{KEY}.weight is missing"),
    "key's bias": (change(lambda s: s.pop(f"{KEY}.bias"), "bert v1"), rf"{KEY}.bias is missing"),
    "key's shape": (
        change(lambda s: s.update({f"{KEY}.weight": s[f"{KEY}.weight"][:5]}), "bert v1"),
        rf"{KEY}.weight has shape \(5, 16\).*\(16, 16\)",
    ),
    "is zero": (
        change(lambda s: s.pop(f"{DECODERS}.expressions_is_zero.bias"), "llama mlm"),
        r"expressions_is_zero\.bias is missing",
    ),
    "both decoders": (
        change(lambda s: s.update({f"{DECODERS}.expressions_is_zero.weight": s[BIAS]})),
        "decoders of whole cells and of tokens",
    ),
    "decoder's rows": (
        change(
            lambda s: s.update(
                {
                    f"{DECODERS}.expressions_wced.weight": s[f"{DECODERS}.expressions_wced.weight"][
                        1:
                    ]
                }
            )
        ),
        r"expressions_wced\.weight has shape \(93, 16\).*\(94, 16\)",
    ),
    "frequencies": (
        change(lambda s: s.update({BASIS: s[BASIS][:40]})),
        rf"{BASIS} has shape \(40,\), expected \(48,\)",
    ),
    "special rows": (
        change(lambda s: s.update({SPECIALS: s[SPECIALS][:-1]})),
        rf"{SPECIALS} has 36 rows, expected 37",
    ),
    "unknown label": (
        change(lambda s: s.update({f"{LABEL}.age.decoder.weight": s[f"{SEX}.weight"]})),
        rf"{LABEL}\.age\.decoder\.weight is unexpected.*label.* of the settings: cell_type_on",
    ),
    "lost label": (
        change(lambda s: [s.pop(f"{SEX}.{part}") for part in ("weight", "bias")]),
        rf"{SEX}\.weight is missing",
    ),
    "label's bias": (change(lambda s: s.pop(f"{SEX}.bias")), rf"{SEX}\.bias is missing"),
    "classes": (column("sex", n_unique_values=3), rf"{SEX}\.weight has 2 rows.*sex has 3 classes"),
    "reversal": (
        column("sex", gradient_reversal_coefficient=1.0),
        rf"{SEX}\.weight has no reversal.*gradient_reversal_coefficient of sex",
    ),
    "several": (column("sex", is_multilabel=True), "sex: is_multilabel"),
    "place": (column("sex", decode_from=40), r"has no <cls_31>.*decode_from up to 40"),
    "no place": (column("sex", decode_from=-1), "sex: decode_from: found -1, expected 0 or more"),
    "label_dict": (
        settings(lambda s: None, told={"label_dict": {"sex": {"f": 0, "m": 1, "x": 2}}}),
        rf"{SEX}\.weight has 2 rows, and .*label_dict has 3 classes of sex",
    ),
    "layers": (
        settings(lambda s: s.update(num_hidden_layers=2)),
        "config.json: num_hidden_layers: found 2, the tensors have 3",
    ),
    "heads": (
        settings(lambda s: s.update(num_attention_heads="4")),
        "config.json: num_attention_heads: found '4'",
    ),
    "activation": (
        settings(lambda s: s.update(hidden_act="relu")),
        "config.json: hidden_act: found 'relu', expected 'gelu'",
    ),
    "positions": (
        settings(lambda s: s.update(position_embedding_type="absolute")),
        "position_embedding_type: found 'absolute'",
    ),
    "not doubling": (
        settings(
            lambda s: s["fields"][1].update(
                encoder_kwargs={"trainable": False, "basis_scale": 0.02}
            )
        ),
        rf"{BASIS} does not double from 2π · 0.02",
    ),
    "outputs": (
        settings(lambda s: s["fields"][1]["decode_modes"]["wced"].update(logit_outputs=["mse"])),
        r"logit_outputs: found \['mse'\]",
    ),
    "stale words": (
        lambda f: write(f, "llama wced", words=bmfm.NEW[:-1]),
        r"tokenizer\.json: has 46 words, and .*genes_embeddings\.weight 47 rows",
    ),
    "no words": (
        lambda f: (f / "tokenizers/genes/tokenizer.json").unlink(),
        r"has no tokenizer\.json of the genes",
    ),
    "a word twice": (
        lambda f: (f / "tokenizers/genes/tokenizer.json").write_text(
            '{"model": {"vocab": {"A": 0, "B": 0}}}'
        ),
        r"tokenizer\.json: the ids of its 2 words",
    ),
    "bad words": (
        lambda f: (f / "tokenizers/genes/tokenizer.json").write_text("{"),
        r"tokenizer\.json: is damaged",
    ),
    "late special": (
        lambda f: write(f, "llama wced", words=[*bmfm.NEW[1:], "[UNK]"]),
        "stands before some of the special tokens",
    ),
    "evil": (pickled(lambda f, _: Evil(str(f / "ran"))), r"last\.ckpt: refused.*run any code"),
    "shell": (pickled(lambda f, _: Shell(f / "ran")), r"pickled (posix|nt)\.system"),
    "evil within": (
        pickled(lambda f, c: bmfm.of(c["FieldInfo"], {"x": Shell(f / "ran")})),
        r"pickled (posix|nt)\.system",
    ),
    "unlisted": (
        pickled(lambda f, c: bmfm.of(c["FieldInfo"], {}), "other_targets"),
        r"pickled other_targets\.config\.\w+",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_names_what_is_wrong_and_writes_nothing(tmp_path, what):
    spoil, message = REFUSED[what]
    folder = write(tmp_path / "theirs", "llama wced")
    spoil(folder)
    if (folder / "last.ckpt").exists():
        (folder / "pytorch_model.bin").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=message):
        jaxcell.convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (folder / "ran").exists()


def test_names_of_classes_that_do_not_fit(tmp_path):
    folder = write(tmp_path / "theirs", "llama wced")
    for given, message in (
        (["f", "m"], "found those of one label, expected LABEL=names for some of cell_type_"),
        ({"sex": ["f"]}, rf"found 1 names.*expected 2 different ones, as {SEX}\.weight has"),
        ({"age": ["1"]}, "names of each class: label: 'age' is unknown; known are .*sex"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxcell.convert(folder, tmp_path / "out", classes=given)
    assert not (tmp_path / "out").exists()
