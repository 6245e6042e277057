"""Kinds of transformer blocks, as changes of a config; each returns it."""


def llama(c):
    """Bidirectional LLaMA blocks: no bias, no positions, no norm before the first attention."""
    e = c.model.encoder
    e.norm, e.norm_eps, e.bias, e.kernels = "rms", 1e-5, False, "torch"
    e.activation, e.hidden = "swiglu", 1024
    e.first_norm = e.final_norm = False
    e.layer_scale = e.drop_path = e.dropout = 0.0
    return c


def bert(c):
    """BERT's blocks: norms behind the residuals, GELU, biases, dropout 0.1."""
    e = c.model.encoder
    e.norm, e.norm_eps, e.bias, e.kernels = "layer", 1e-12, True, "bert"
    e.activation, e.hidden = "gelu", 4 * c.model.width
    e.norm_first, e.first_norm, e.final_norm = False, True, False
    e.layer_scale, e.drop_path, e.dropout = 0.0, 0.0, 0.1
    c.model.dropout = 0.1
    return c


def modern_bert(c):
    """ModernBERT's blocks, for sets: GeGLU, no biases; rotary and local attention need an order."""
    e = c.model.encoder
    e.norm, e.norm_eps, e.bias, e.kernels = "layer", 1e-5, False, "bert"
    e.activation, e.hidden = "geglu", 3 * c.model.width // 2
    e.norm_first, e.first_norm, e.final_norm = True, False, True
    e.layer_scale = e.drop_path = e.dropout = 0.0
    return c


def linear_cost(kind):
    """Attention whose cost is linear in the tokens: performer or nystrom."""

    def change(c):
        c.model.encoder.attention = kind
        return c

    return change
