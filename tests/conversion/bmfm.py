"""Small checkpoints of BMFM-RNA, written by an independent model of it, and cells for them."""

import contextlib
import enum
import json
import sys
import types

import numpy as np
import torch

from tests.reference.bmfm_published import PlainMlp, Published, ScaleAdapt, SpecialMlp
from tests.reference.test_bmfm_reference import drawn

DECODERS = "cls.predictions.predictions.decoder.field_decoders"
LABEL = "cls.label_predictions.predictions.label_decoders"
GENES = 9
WIDTH, HEADS, LAYERS, HIDDEN = 16, 4, 3, 24
FIRST = ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
NAMES = ["G4", "ENSG00000000003.7", *(f"G{i}" for i in range(4)), *(f"G{i}" for i in range(5, 8))]
OLD = [*FIRST, "[S]", "[T]", *NAMES]
NEW = [*FIRST, *(f"[CLS_{k}]" for k in range(31)), "[S]", "[T]", *NAMES]
WCED = {"expressions_wced": 2 * len(NEW)}
MLM = {"expressions_regression": 1, "expressions_is_zero": 1}
LABELS = {
    "cell_type_ontology_term_id": dict(classes=5, position=1),
    "tissue": dict(classes=3, position=2),
    "tissue general": dict(classes=2, position=2),
    "donor_id": dict(classes=4, position=3, reversal=0.5),
    "sex": dict(classes=2, position=4),
}
OF_POOLER = {
    "cell_type": dict(classes=5),
    "donor_id": dict(classes=4, reversal=1.5),
    "age": dict(classes=1),
}
VARIANTS = {
    "llama wced": ("llama", NEW, lambda: ScaleAdapt(WIDTH, 36, False), WCED, LABELS),
    "llama mlm": ("llama", NEW, lambda: ScaleAdapt(WIDTH, 36, False, 0.03), MLM, OF_POOLER),
    "bert v1": (
        *("bert", OLD, lambda: SpecialMlp(WIDTH, 5)),
        {**MLM, "genes_token_scores": len(OLD)},
        OF_POOLER,
    ),
    "bert rda": ("bert", OLD, lambda: ScaleAdapt(WIDTH, 5, True, 1.5), MLM, {}),
    "bert mlp": ("bert", OLD, lambda: PlainMlp(WIDTH), {"expressions_wced": 2 * len(OLD)}, {}),
}


def model_of(name):
    kind, words, values, decoders, labels = VARIANTS[name]
    sizes = (len(words), WIDTH, LAYERS, HEADS, HIDDEN)
    return drawn(Published(kind, *sizes, values(), decoders, labels))


def settings_of(name):
    """What config.json says of a model, by today's names."""
    kind, _, _, decoders, labels = VARIANTS[name]
    modes = {k.partition("_")[2]: {} for k in decoders if k.startswith("expressions_")}
    if "wced" in modes:
        modes["wced"] = {"vocab_field": "genes", "logit_outputs": ["mse", "is_zero_bce"]}
    fields = [
        {
            "field_name": "genes",
            "decode_modes": {"token_scores": {}} if "genes_token_scores" in decoders else None,
        },
        {"field_name": "expressions", "encoder_kwargs": {}, "decode_modes": modes},
    ]
    if name == "bert rda":
        fields.append({"field_name": "label_expressions", "is_input": False, "decode_modes": None})
    columns = [
        {
            "label_column_name": label,
            "n_unique_values": None if label == "age" else one["classes"],
            "is_regression_label": label == "age",
            "gradient_reversal_coefficient": one.get("reversal"),
            "decode_from": one.get("position"),
            "label_ontology": "celltypeont" if "ontology" in label else None,
        }
        for label, one in labels.items()
    ]
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    sizes |= {"intermediate_size": HIDDEN, "hidden_act": "gelu"} if kind == "bert" else {}
    return {"model_type": kind, **sizes, "fields": fields, "label_columns": columns}


@contextlib.contextmanager
def their_classes(package="bmfm_targets"):
    """{name: class} as if their package were installed, so that objects of it can be pickled."""
    names = (package, f"{package}.config")
    modules = {name: types.ModuleType(name) for name in names}
    made = {}
    for name in ("SCBertConfig", "FieldInfo", "LabelColumnInfo", "TrainerConfig"):
        made[name] = type(name, (), {"__module__": names[1]})
    made["AttentionKind"] = enum.Enum("AttentionKind", {"TORCH": "torch"}, module=names[1])
    for name, one in made.items():
        setattr(modules[names[1]], name, one)
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name in names:
            del sys.modules[name]


def of(kind, content):
    """An object of a class with these attributes."""
    found = kind()
    found.__dict__.update(content)
    return found


def hyper_parameters(settings, classes, **more):
    """As Lightning keeps them: objects of classes that the reader has not."""
    settings = {**settings, "attention": classes["AttentionKind"].TORCH}
    for key, kind in (("fields", "FieldInfo"), ("label_columns", "LabelColumnInfo")):
        settings[key] = [of(classes[kind], one) for one in settings[key]]
    return {"model_config": of(classes["SCBertConfig"], settings), **more}


def write_words(folder, words):
    """The tokenizer of the genes, with a vocab.json beside it that is of another model."""
    folder.mkdir(parents=True, exist_ok=True)
    added = [{"id": i, "content": w} for i, w in enumerate(words) if w[0] == "["]
    ids = {word: i for i, word in enumerate(words)}
    model = {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"}
    text = json.dumps({"version": "1.0", "added_tokens": added, "model": model})
    (folder / "tokenizer.json").write_text(text)
    (folder / "vocab.json").write_text(json.dumps({w: i + 1 for w, i in ids.items()}))


def write(folder, name, state=None, settings=None, told=None, words=None):
    """A checkpoint of Lightning's with ``told`` in hyper_parameters; without, a plain folder."""
    folder.mkdir(exist_ok=True)
    state = model_of(name).state_dict() if state is None else state
    settings = settings_of(name) if settings is None else settings
    write_words(folder / "tokenizers" / "genes", VARIANTS[name][1] if words is None else words)
    if told is None:
        torch.save(state, folder / "pytorch_model.bin")
        if settings:
            (folder / "config.json").write_text(json.dumps(settings))
        return folder
    with their_classes() as classes:
        found = hyper_parameters(settings, classes, **told)
        found["trainer_config"] = of(classes["TrainerConfig"], found.get("trainer_config", {}))
        state = {f"model.{key}": x for key, x in state.items()}
        content = {"epoch": 3, "state_dict": state, "hyper_parameters": found}
        torch.save(content, folder / "last.ckpt")
    return folder


class Cells:
    """Three cells of up to six genes, as their sequence and as ours; some values are hidden."""

    def __init__(self, words, described, seed=2, genes=(6, 4, 1)):
        c, random = described.config, np.random.default_rng(seed)
        self.words, self.rows, front = words, described.rows, c.model.front
        specials = c.model.specials
        names = [f"[{name[1:-1].upper()}]" for name in front]
        symbols = [word for word in words if word[0] != "["]
        self.theirs, self.ours = [], []
        for number in genes:
            drawn_values = random.permutation(
                [0.0, -5.0, *random.uniform(0.1, 9, max(number - 2, 0))]
            )[:number]
            shown = random.permutation(symbols)[:number].tolist()
            cell = dict(zip(shown, np.resize(drawn_values, number), strict=True))
            depth = {word: random.uniform(3, 9) for word in names if word in ("[S]", "[T]")}
            first = [word for word in names if word.startswith("[CLS")]
            code = {word: -1.0 - words.index(word) for word in [*first, "[SEP]"]}
            self.theirs.append(
                {w: code[w] for w in first} | depth | cell | {"[SEP]": code["[SEP]"]}
            )
            own = {n: -1.0 - specials.index(f) for n, f in zip(names, front, strict=True)}
            self.ours.append(own | depth | cell)

    def their_batch(self):
        longest = max(map(len, self.theirs)) + 2
        shape = len(self.theirs), longest
        ids, values = np.full(shape, 2), np.full(shape, -3.0)
        for row, cell in enumerate(self.theirs):
            ids[row, : len(cell)] = [self.words.index(word) for word in cell]
            values[row, : len(cell)] = list(cell.values())
        real = np.arange(longest) < np.array([[len(cell)] for cell in self.theirs])
        return torch.from_numpy(ids), torch.from_numpy(values), torch.from_numpy(real)

    def our_batch(self):
        longest = max(map(len, self.ours)) + 1
        ids = np.zeros((len(self.ours), longest), np.int32)
        values = np.zeros(ids.shape)
        for row, cell in enumerate(self.ours):
            ids[row, : len(cell)] = [self.rows[self.words.index(word)] for word in cell]
            values[row, : len(cell)] = list(cell.values())
        length = np.array([len(cell) for cell in self.ours], np.int32)
        places = np.broadcast_to(np.arange(longest, dtype=np.int32), ids.shape)
        return {"ids": ids, "values": values, "length": length, "gene_places": places}

    def in_our_order(self, x):
        """Theirs [B, T, …] -> of each cell the tokens as ours stand: [tokens, …] each."""
        return [
            x[row, [list(cell).index(word) for word in self.ours[row]]]
            for row, cell in enumerate(self.theirs)
        ]
