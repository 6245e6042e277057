"""BMFM-RNA: names of its LLaMA and BERT multi-task models → ours.

Names of older checkpoints are brought up to date before (`families.bmfm_names`). What labels there
are is seen from the names: `rules_of` makes the table for a checkpoint.
"""

import re

from jaxcell.conversion.rules.parts import BLOCKS, linear, norm
from jaxcell.conversion.torch import LeftOut, Rule

LLAMA, BERT = "core.encoder", "scbert"  # in front of the names of embeddings and blocks
POOLER = {LLAMA: "core.pooler", BERT: "scbert.pooler"}
TOKEN_HEAD = "cls.predictions.predictions"
DECODERS = f"{TOKEN_HEAD}.decoder.field_decoders"
LABELS = "cls.label_predictions.predictions.label_decoders"
DECODER = re.compile(rf"{re.escape(LABELS)}\.([^.]+)\.decoder\.(.+)")


def encoder_of(names):
    """LLAMA or BERT, by the names of the blocks; None where neither is."""
    if any(name.startswith(f"{LLAMA}.blocks.") for name in names):
        return LLAMA
    return BERT if any(name.startswith(f"{BERT}.encoder.layer.") for name in names) else None


def head_of(label):
    """The name of a label's head, which has no space or dot in it."""
    return re.sub(r"\W", "_", label)


def _fields(prefix):
    source, values = f"{prefix}.embeddings", "params/fields/value"
    expressions = f"{source}.expressions_embeddings"
    return (
        Rule(f"{source}.genes_embeddings.weight", "params/fields/gene/embedding", "tokens"),
        Rule(f"{expressions}.special_token_embeddings.weight", f"{values}/rows", "codes"),
        Rule(f"{expressions}.basis", f"{values}/basis"),  # one that was trained
        Rule(f"{expressions}.dense.weight", f"{values}/dense/kernel", "linear"),
        Rule(f"{expressions}.dense_1.weight", f"{values}/in_kernel", "linear"),
        Rule(f"{expressions}.dense_1.bias", f"{values}/in_bias"),
        *linear(f"{expressions}.dense_2", f"{values}/out"),
        *norm(f"{source}.LayerNorm", "params/fields/norm"),
    )


def _llama(source, target, **how):
    """A block without biases; the first of all has no norm before its attention."""
    return (
        Rule(f"{source}.attn.c_attn.weight", f"{target}/attention/qkv/kernel", "linear", **how),
        Rule(f"{source}.attn.proj.weight", f"{target}/attention/out/kernel", "joined", **how),
        Rule(f"{source}.rms_2.scale", f"{target}/norm2/scale", **how),
        Rule(f"{source}.mlp.c_fc1.weight", f"{target}/mlp/in/kernel", "linear", **how),
        Rule(f"{source}.mlp.c_fc2.weight", f"{target}/mlp/gate/kernel", "linear", **how),
        Rule(f"{source}.mlp.c_proj.weight", f"{target}/mlp/out/kernel", "linear", **how),
    )


LLAMA_BLOCKS = (
    *_llama(f"{LLAMA}.blocks.0", "params/encoder/first", at=0),
    *_llama(f"{LLAMA}.blocks.{{at}}", BLOCKS, start=1),
    Rule(f"{LLAMA}.blocks.{{at}}.rms_1.scale", f"{BLOCKS}/norm1/scale", start=1),
)

LAYER = f"{BERT}.encoder.layer.{{at}}"
QKV = f"{BLOCKS}/attention/qkv"
BERT_BLOCKS = (
    *(
        rule
        for place, name in enumerate(("query", "key", "value"))
        for source in [f"{LAYER}.attention.self.{name}"]
        for rule in (
            Rule(f"{source}.weight", f"{QKV}/kernel", "linear", slot=(1, place)),
            Rule(f"{source}.bias", f"{QKV}/bias", "flat", slot=(0, place)),
        )
    ),
    *linear(f"{LAYER}.attention.output.dense", f"{BLOCKS}/attention/out", "joined"),
    *norm(f"{LAYER}.attention.output.LayerNorm", f"{BLOCKS}/norm1"),
    *linear(f"{LAYER}.intermediate.dense", f"{BLOCKS}/mlp/in"),
    *linear(f"{LAYER}.output.dense", f"{BLOCKS}/mlp/out"),
    *norm(f"{LAYER}.output.LayerNorm", f"{BLOCKS}/norm2"),
)

EXPRESSION = "params/heads/expression"
HEADS = (
    *linear(f"{TOKEN_HEAD}.transform.dense", f"{EXPRESSION}/transform/in"),
    *norm(f"{TOKEN_HEAD}.transform.LayerNorm", f"{EXPRESSION}/transform/norm"),
    Rule(f"{DECODERS}.expressions_wced.weight", f"{EXPRESSION}/rows", "parted"),
    Rule(f"{DECODERS}.expressions_wced.bias", f"{EXPRESSION}/bias", "parted_bias"),
    *(
        rule
        for place, name in enumerate(("regression", "is_zero"))
        for source in [f"{DECODERS}.expressions_{name}"]
        for rule in (
            Rule(f"{source}.weight", f"{EXPRESSION}/parts", "row", at=place),
            Rule(f"{source}.bias", f"{EXPRESSION}/parts_bias", "row", at=place),
        )
    ),
    Rule(f"{DECODERS}.genes_token_scores.weight", f"{EXPRESSION}/rows", "tokens"),
    Rule(f"{DECODERS}.genes_token_scores.bias", f"{EXPRESSION}/bias", "tokens"),
)


def decoder_of(label, names):
    """The name of a label's last layer, without '.weight', and what stands before it.

    '' (nothing), '1' (it is the second of two behind a reversal) or 'out_proj' (behind a hidden
    layer, 'dense').
    """
    source = f"{LABELS}.{label}.decoder"
    found = next((k for k in ("1", "out_proj") if f"{source}.{k}.weight" in names), "")
    return f"{source}.{found}" if found else source, found


def _label(label, names):
    head, (last, kind) = f"params/heads/{head_of(label)}", decoder_of(label, names)
    hidden = f"{last.removesuffix('out_proj')}dense"
    return (
        *linear(last, f"{head}/out"),
        *(linear(hidden, f"{head}/in") if kind == "out_proj" else ()),
    )


def labels_of(names):
    """Labels that have a decoder, in the order of the names."""
    return tuple(dict.fromkeys(m[1] for name in names if (m := DECODER.fullmatch(name))))


def rules_of(names):
    """The rules for a checkpoint with tensors of these names."""
    prefix = encoder_of(names)
    return (
        *_fields(prefix),
        *(LLAMA_BLOCKS if prefix == LLAMA else BERT_BLOCKS),
        *linear(f"{POOLER[prefix]}.dense", "params/pool/dense"),
        *HEADS,
        *(rule for label in labels_of(names) for rule in _label(label, names)),
    )


LEFT_OUT = (
    LeftOut(r".*\.expressions_embeddings\.basis", "fixed frequencies: the config has them"),
    LeftOut(
        r".*\.field_decoders\.\w+_mvc_\w+\..*",
        "decoders of a cell's vector and a query (MVC): no published checkpoint has them, and what "
        "theirs would be here was never tried",
    ),
)
