"""scFormer: names of its `TransformerModel`, and of the checkpoint of June 2022 → ours.

scGPT's are the same but for attention by flash kernels, which has names of its own.
"""

from jaxcell.conversion.rules.parts import BLOCKS, linear, norm, torch_encoder
from jaxcell.conversion.torch import LeftOut, Rule

CLASSIFIER_LAYERS = 8  # hidden ones at most; published are two

GENES, VALUES, NORM = "params/fields/gene", "params/fields/value", "fields/norm"
FIELDS = (
    Rule("encoder.embedding.weight", f"{GENES}/embedding", "tokens"),
    *norm("encoder.enc_norm", f"{GENES}/norm"),
    Rule("value_encoder.linear1.weight", f"{VALUES}/in_kernel", "linear"),
    Rule("value_encoder.linear1.bias", f"{VALUES}/in_bias"),
    *linear("value_encoder.linear2", f"{VALUES}/out"),
    *norm("value_encoder.norm", f"{VALUES}/norm"),
    Rule("value_encoder.embedding.weight", f"{VALUES}/rows"),  # the category style
    *norm("value_encoder.enc_norm", f"{VALUES}/norm"),
    Rule("batch_encoder.embedding.weight", "params/condition_batch/rows", "classes"),
    *norm("batch_encoder.enc_norm", "params/condition_batch/norm"),
)


def _batch_norm(source, at=None):
    """One of K domains, or the plain norm as the only one. What torch counts are batches.

    We count cells; the shares that each domain has of them are the same, as batches of scFormer are
    of one domain each.
    """
    return (
        Rule(f"{source}.weight", f"params/{NORM}/scale", at=at),
        Rule(f"{source}.bias", f"params/{NORM}/bias", at=at),
        Rule(f"{source}.running_mean", f"batch_stats/{NORM}/mean", at=at),
        Rule(f"{source}.running_var", f"batch_stats/{NORM}/var", at=at),
        Rule(f"{source}.num_batches_tracked", f"batch_stats/{NORM}/seen", "count", at=at),
    )


LAYER = "transformer_encoder.layers.{at}"
FLASH = (  # of flash-attn 1, and of flash-attn 2 behind scGPT's own wrapper; rows as in torch
    *linear(f"{LAYER}.self_attn.Wqkv", f"{BLOCKS}/attention/qkv", bias="flat"),
    *linear(f"{LAYER}.self_attn._impl.Wqkv", f"{BLOCKS}/attention/qkv", bias="flat"),
    *linear(f"{LAYER}.self_attn._impl.out_proj", f"{BLOCKS}/attention/out", "joined"),
)

MGM, MVC = "params/heads/mgm", "params/heads/mvc"
DECODERS = (
    *linear("decoder", f"{MGM}/out"),  # the single layer of June 2022
    *linear("decoder.fc.0", f"{MGM}/hidden_0"),
    *linear("decoder.fc.2", f"{MGM}/hidden_1"),
    *linear("decoder.fc.4", f"{MGM}/out"),
    *linear("decoder.zero_logit.0", f"{MGM}/zero_hidden_0"),
    *linear("decoder.zero_logit.2", f"{MGM}/zero_hidden_1"),
    *linear("decoder.zero_logit.4", f"{MGM}/zero_out"),
    *linear("mvc_decoder.gene2query", f"{MVC}/query"),
    Rule("mvc_decoder.W.weight", f"{MVC}/product_kernel", "linear"),
    Rule("mvc_decoder.W_zero_logit.weight", f"{MVC}/zero_kernel", "linear"),
    Rule("mvc_decoder.W_zero_logit.bias", f"{MVC}/zero_bias"),
    Rule("mvc_decoder.fc1.bias", f"{MVC}/hidden/bias"),
    Rule("mvc_decoder.hidden_activation.weight", f"{MVC}/slope"),
    *linear("mvc_decoder.fc2", f"{MVC}/out"),
    # Behind the cell's vector and the query side by side; or behind their sum.
    Rule(
        "mvc_decoder.fc1.weight",
        (f"{MVC}/hidden_cell/kernel", f"{MVC}/hidden/kernel"),
        "linear",
        axis=1,
    ),
    Rule("mvc_decoder.fc1.weight", f"{MVC}/hidden/kernel", "linear"),
)


def _classifier(source, target):
    rules = []
    for i in range(CLASSIFIER_LAYERS):
        rules += linear(f"{source}._decoder.{3 * i}", f"{target}/hidden_{i}")
        rules += norm(f"{source}._decoder.{3 * i + 2}", f"{target}/norm_{i}")
    return (*rules, *linear(f"{source}.out_layer", f"{target}/out"))


RULES = (
    *FIELDS,
    *_batch_norm("bn", at=0),
    *_batch_norm("dsbn.bns.{at}"),
    *torch_encoder(LAYER),
    *DECODERS,
    *_classifier("cls_decoder", "params/heads/cls"),
    *_classifier("grad_reverse_discriminator", "params/heads/dar"),
)
SCGPT_RULES = (*RULES, *FLASH)
SCGPT_LEFT_OUT = (
    LeftOut(
        "flag_encoder.weight",
        "marks the genes that generative pretraining asks for; no embedded cell has any",
    ),
)
