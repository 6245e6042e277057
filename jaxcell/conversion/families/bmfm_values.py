"""The value encoder of a checkpoint of BMFM-RNA, by its tensors' names. S special tokens."""

import math

import numpy as np

from jaxcell.conversion.families.bmfm_names import field_of
from jaxcell.models.values import BASIS, BASIS_SCALE

SAME = 1e-6  # relative; of frequencies that were rounded to float32


def add_values(c, tensors, t, kind, special, settings, where):
    """Put the value encoder into a config.

    Returns
    -------
    How many special tokens have a row of their own in it; 0 where none has

    Raises
    ------
    ValueError
        There is no such encoder here, or its rows do not fit the tokenizer's special tokens.
    """
    source, told = f"{kind}.embeddings.expressions_embeddings", field_of(settings, "expressions")
    options = told["encoder_kwargs"]
    for name, wanted in {"zero_as_special_token": True, "shift": 0}.items():
        if options.get(name, wanted) != wanted:
            raise ValueError(
                f"{where}: encoder_kwargs: {name}: found {options[name]!r}, expected {wanted!r}: "
                "there is no such value encoder here"
            )
    rows = f"{source}.special_token_embeddings.weight"
    own = rows in t
    value = {"input": "values", "kernels": c.model.encoder.kernels}
    if f"{source}.dense.weight" in t:
        value |= {"kind": "periodic", **_frequencies(tensors, t, source, options, where)}
        own = True
    elif f"{source}.dense_1.weight" in t:
        hidden = t.shape(f"{source}.dense_1.weight", 2)[0]
        value |= {"kind": "value_mlp", "hidden": hidden, "special_rows": own}
    else:
        raise ValueError(
            f"the tensor {source}.dense.weight is missing, and dense_1.weight too: there is no "
            "other value encoder here"
        )
    c.model.fields.value = value
    if own and t.shape(rows, 2)[0] != special + 1:
        raise ValueError(
            f"the tensor {rows} has {t.shape(rows, 2)[0]} rows, expected {special + 1}: the "
            f"tokenizer has {special} special tokens, and zero has a row"
        )
    return special if own else 0


def _frequencies(tensors, t, source, options, where):
    """Whether the sines' frequencies were trained, and if not, where they begin."""
    name = f"{source}.basis"
    if t.shape(name, 1) != (BASIS,):
        raise ValueError(
            f"the tensor {name} has shape {t.shape(name, 1)}, expected ({BASIS},): there is no "
            "such value encoder here"
        )
    basis = np.asarray(tensors[name], np.float64)
    if not np.isfinite(basis).all():
        raise ValueError(f"the tensor {name} holds NaN or infinite numbers; is the file damaged?")
    scale = options.get("basis_scale")
    if scale is None:
        scale = float(f"{basis[0] / (2 * math.pi):.6g}")
    fixed = np.allclose(basis, 2 * math.pi * scale * 2.0 ** np.arange(BASIS), rtol=SAME, atol=0)
    trained = options.get("trainable", not fixed)
    if not trained and not fixed:
        raise ValueError(
            f"the tensor {name} does not double from 2π · {scale} on, as {where} says: "
            "encoder_kwargs: trainable: False"
        )
    if trained:
        return {"trainable": True}
    return {"scale": scale} if scale != BASIS_SCALE else {}
