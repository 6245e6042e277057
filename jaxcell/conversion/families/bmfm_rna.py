"""BMFM-RNA's checkpoints: the config that tokenizer, settings and the tensors' shapes describe.

V genes, S special tokens, d width. Either a checkpoint of Lightning, whose settings are pickled
beside the tensors (read as values, see `conversion.stubs`), or a folder of Hugging Face's with
config.json; and beside the weights the tokenizer of the genes (`conversion.wordlevel`).

What names and shapes show is read from them: LLaMA or BERT blocks, sizes, the value encoder,
whole-cell decoding or masked values, labels and their numbers of classes, fixed or trained
frequencies. Settings that say otherwise are an error. The settings alone tell heads, dropout, and
from which token a label is read; without them the published checkpoints' are assumed, and said.

The tokens in front are [CLS] and, as far as some label is read from them, [CLS_0] …; [SEP], which
their trainer puts last, stands behind those here: no encoder knows positions. Sequences are as
long, and masked as often, as the published checkpoints' of that kind; none of it changes a vector.
"""

import json

import numpy as np

from jaxcell import config
from jaxcell.conversion.described import Described, Family, Tensors, argument
from jaxcell.conversion.families.bmfm_labels import add_labels, reads_of
from jaxcell.conversion.families.bmfm_names import (
    field_of,
    migrated,
    recognises,
    settings_of,
)
from jaxcell.conversion.families.bmfm_values import add_values
from jaxcell.conversion.rules.bmfm_rna import (
    BERT,
    DECODERS,
    LEFT_OUT,
    LLAMA,
    POOLER,
    encoder_of,
    rules_of,
)
from jaxcell.conversion.wordlevel import SPECIAL, name_of, read_tokens, vocabulary_of
from jaxcell.systems.blocks import bert
from jaxcell.systems.bmfm_rna import TASKS

DEPTHS = ("[S]", "[T]")  # tokens of a cell's depth: special ones of models that are shown them
HEAD_SIZE = {LLAMA: 32, BERT: 64}  # channels of a head of the published checkpoints
TOKENS = {  # of a cell, at most
    (LLAMA, "wced"): 8192,
    (LLAMA, "mlm"): 8192,
    (BERT, "wced"): 1024,
    (BERT, "mlm"): 4096,
}
LONGEST = {LLAMA: 8192, BERT: 4096}  # of a model of labels alone
OUTPUTS = {"mse": "expression", "is_zero_bce": "is_zero"}  # of whole-cell decoding


def describe(source):
    """The model that a checkpoint of BMFM-RNA holds.

    Parameters
    ----------
    source : `files.Source`, by today's names (`bmfm_names.migrated`)

    Returns
    -------
    Described

    Raises
    ------
    ValueError
        Something is missing, two things contradict each other, or there is no such model here.
    """
    settings, where = settings_of(source)
    t, said = Tensors(source.tensors, "BMFM-RNA"), []
    kind = encoder_of(t.shapes)
    if kind is None:
        raise ValueError(
            f"has no tensor {LLAMA}.blocks.… or {BERT}.encoder.layer.…: this is no checkpoint of "
            "BMFM-RNA"
        )
    if not settings:
        said.append(
            "there are no settings (config.json, or Lightning's hyper_parameters): heads, dropout "
            "and what labels read are assumed to be the published checkpoints'"
        )
    c, task = _base(t, kind)
    _sizes(c, t, kind, settings, where)
    depths = DEPTHS if _shown_depths(settings) else ()
    words, special = _words(source, t, kind)
    codes = add_values(c, source.tensors, t, kind, special, settings, where)
    if lost := set(depths) - set(words):
        raise ValueError(f"the tokenizer has no {', '.join(sorted(lost))}, which {where} asks for")
    vocabulary, rows = vocabulary_of(words, special, depths)
    c.model.vocabulary, c.model.specials = len(vocabulary), vocabulary.specials
    reads = reads_of(t, settings, kind == LLAMA and task == "wced", vocabulary.specials, said)
    _front(c, reads, vocabulary.specials, depths, where)
    longest = TOKENS.get((kind, task), LONGEST[kind])
    c.data.sequence.number = max(1, min(longest - len(c.model.front), len(vocabulary)))
    if task == "wced":
        _outputs(c, settings, where)
    classes, names = add_labels(c, t, source, reads, said)
    if _idle(source.tensors, kind):
        said.append("the checkpoint has no pooler; what labels read of it is tanh of <cls> alone")
    config.check(c)
    told = {"model_config": json.dumps(settings)} if settings else {}
    context = {"width": c.model.width, "codes": codes}
    rules = rules_of(t.shapes)
    return Described(c, vocabulary, rows, classes, said, names, told, context, rules)


def _base(t, kind):
    """The published config of this kind without labels, and 'wced', 'mlm' or '' (labels alone)."""
    whole = f"{DECODERS}.expressions_wced.weight" in t
    tokens = any(f"{DECODERS}.expressions_{k}.weight" in t for k in ("regression", "is_zero"))
    if whole and tokens:
        raise ValueError(
            f"has decoders of whole cells and of tokens ({DECODERS}.…), expected one of the two"
        )
    task = "wced" if whole else "mlm" if tokens else ""
    c = config.sequences(config.defaults())
    c = config.whole_cell(c) if whole else config.masked_values(c)
    c.name = f"bmfm_rna_{task}" if task else "bmfm_rna"
    for name in TASKS:
        del c.model.heads[name], c.losses[name]
    c.labels, c.ontology.labels, c.ontology.file = (), (), ""
    if not task:
        c.model.heads, c.losses = {}, {}
        c.train.gene_errors = c.train.gene_zero = ""
        c.data.transforms = tuple(name for name in c.data.transforms if name != "draw_masks")
    if f"{DECODERS}.genes_token_scores.weight" in t and task == "mlm":
        c.model.heads.expression.genes = True
        c.data.draw_masks.fields = ("values", "genes")
        c.losses.genes = {
            **{"kind": "cross_entropy", "pred": "heads.expression.genes"},
            **dict.fromkeys(("target", "where"), "batch.gene_target"),
            **{"reduce": "masked_mean", "weight": 0.7},
        }
    return (bert(c) if kind == BERT else c), task


def _sizes(c, t, kind, settings, where):
    m, e = c.model, c.model.encoder
    embeddings = f"{kind}.embeddings"
    m.width = t.shape(f"{embeddings}.LayerNorm.weight", 1)[0]
    if f"{embeddings}.genes_embeddings_projection.weight" in t:
        raise ValueError(
            f"the tensor {embeddings}.genes_embeddings_projection.weight is unexpected: gene "
            "vectors from a file are not converted"
        )
    if kind == LLAMA:
        e.layers = t.numbers(r"core\.encoder\.blocks\.(\d+)\.")
        e.hidden = t.shape(f"{LLAMA}.blocks.0.mlp.c_fc1.weight", 2)[0]
    else:
        e.layers = t.numbers(r"scbert\.encoder\.layer\.(\d+)\.")
        e.hidden = t.shape(f"{BERT}.encoder.layer.0.intermediate.dense.weight", 2)[0]
    known = {"hidden_size": m.width, "num_hidden_layers": e.layers}
    known |= {"intermediate_size": e.hidden} if kind == BERT else {}
    for name, found in known.items():
        if settings.get(name, found) != found:
            raise ValueError(f"{where}: {name}: found {settings[name]}, the tensors have {found}")
    for name, wanted in {
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "classifier_pooling": "cls",
        "position_embedding_type": None,
    }.items():
        if settings.get(name, wanted) not in (wanted, None):
            raise ValueError(
                f"{where}: {name}: found {settings[name]!r}, expected {wanted!r}: there is no such "
                "model here"
            )
    default = max(1, m.width // HEAD_SIZE[kind])
    e.heads = argument(settings, "num_attention_heads", int, default, where)
    if kind == BERT:
        dropout = argument(settings, "hidden_dropout_prob", int | float, e.dropout, where)
        e.dropout = m.dropout = float(dropout)


def _words(source, t, kind):
    """The tokenizer's words, and how many special tokens they begin with."""
    words, path = read_tokens(source.weights)
    name = f"{kind}.embeddings.genes_embeddings.weight"
    rows = t.shape(name, 2)[0]
    if len(words) != rows:
        raise ValueError(
            f"{path}: has {len(words)} words, and {name} {rows} rows: it is of another model"
        )
    special = [bool(SPECIAL.fullmatch(word)) and word not in DEPTHS for word in words]
    number = sum(special)
    if not all(special[:number]):
        raise ValueError(
            f"{path}: {words[special.index(False)]} stands before some of the special tokens "
            f"({number} words in brackets), whose ids are expected to be the first"
        )
    return words, number


def _shown_depths(settings):
    """Whether cells of random depth were the input, and cells themselves what is predicted."""
    field = field_of(settings, "label_expressions")
    return field.get("is_input") is False and not field["decode_modes"]


def _front(c, reads, specials, depths, where):
    """Tokens in front: CLS, those that labels read, SEP, and what tells a cell's depth."""
    read = max((place for place in reads.values() if place is not None), default=0)
    front = ("<cls>", *(f"<cls_{k}>" for k in range(read)), "<sep>", *map(name_of, depths))
    if lost := [name for name in front if name not in specials]:
        raise ValueError(
            f"the tokenizer has no {', '.join(lost)}, which stand in front of each cell"
            f"{f' ({where}: decode_from up to {read})' if read else ''}"
        )
    c.model.front = front
    if depths:
        c.data.transforms = ("thin", *c.data.transforms)
        c.data.normalise.pseudo_total = 0.0
        if "draw_masks" in c.data.transforms:
            c.data.draw_masks.ratio = 0.3


def _outputs(c, settings, where):
    """Which of a token's numbers is which."""
    mode = field_of(settings, "expressions")["decode_modes"].get("wced", {})
    found = mode.get("logit_outputs") or list(OUTPUTS)
    if not isinstance(found, list) or sorted(map(str, found)) != sorted(OUTPUTS):
        raise ValueError(
            f"{where}: logit_outputs: found {found}, expected {list(OUTPUTS)}: there is no such "
            "model here"
        )
    c.model.heads.expression.parts = tuple(OUTPUTS[name] for name in found)


def _idle(tensors, kind):
    """Whether the pooler is the identity."""
    weight, bias = (tensors.get(f"{POOLER[kind]}.dense.{part}") for part in ("weight", "bias"))
    there = weight is not None and bias is not None and np.ndim(weight) == 2
    return there and np.array_equal(weight, np.eye(len(weight))) and not np.any(bias)


FAMILY = Family(recognises, describe, left_out=LEFT_OUT, migrated=migrated)
