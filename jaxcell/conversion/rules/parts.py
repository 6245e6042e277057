"""Rules of parts that several families have: linear layers, layer norms, torch's encoder layer."""

from jaxcell.conversion.torch import Rule

BLOCKS = "params/encoder/blocks"


def norm(source, target, **how):
    """Rules of a layer norm; ``how``: further fields of both."""
    return (
        Rule(f"{source}.weight", f"{target}/scale", **how),
        Rule(f"{source}.bias", f"{target}/bias", **how),
    )


def linear(source, target, weight="linear", bias="same"):
    """Rules of a linear layer; how its weight and its bias are laid out."""
    return (
        Rule(f"{source}.weight", f"{target}/kernel", weight),
        Rule(f"{source}.bias", f"{target}/bias", bias),
    )


def torch_encoder(layer):
    """Rules of ``nn.TransformerEncoderLayer``; ``layer`` is its name, with {at} for the number."""
    return (
        Rule(f"{layer}.self_attn.in_proj_weight", f"{BLOCKS}/attention/qkv/kernel", "linear"),
        Rule(f"{layer}.self_attn.in_proj_bias", f"{BLOCKS}/attention/qkv/bias", "flat"),
        *linear(f"{layer}.self_attn.out_proj", f"{BLOCKS}/attention/out", "joined"),
        *linear(f"{layer}.linear1", f"{BLOCKS}/mlp/in"),
        *linear(f"{layer}.linear2", f"{BLOCKS}/mlp/out"),
        *norm(f"{layer}.norm1", f"{BLOCKS}/norm1"),
        *norm(f"{layer}.norm2", f"{BLOCKS}/norm2"),
    )
