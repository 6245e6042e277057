"""How tensors of torch lie in parameters of ours, and back.

T tokens of the foreign vocabulary, R rows of our tables, P numbers of each token, D width.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """How a tensor of torch lies in a parameter of ours.

    shape : (shape of the parameter, context) -> shape of the tensor
    make : (tensor, shape of the parameter, context) -> parameter
    back : (parameter, shape of the tensor, context) -> tensor
    """

    shape: Callable
    make: Callable
    back: Callable


def _reshaped(x, shape, _):
    return x.reshape(shape)


def _transposed(x, shape, _):
    return x.T.reshape(shape)


def _tokens(x, shape, context):
    rows = np.zeros(shape, x.dtype)  # those that pad the table to a multiple stay zero
    rows[context["rows"]] = x.reshape(len(context["rows"]), *shape[1:])
    return rows


def _tokens_back(x, shape, context):
    return x[context["rows"]].reshape(shape)


def _genes(x, shape, context):
    return np.concatenate([x, np.zeros((shape[0] - context["genes"], *shape[1:]), x.dtype)])


def _genes_back(x, shape, context):
    return x[: context["genes"]]


def _parted_shape(s, context):
    width = context["width"]
    return len(context["rows"]) * s[1] // width, width


def _classes(x, shape, _):
    return np.concatenate([x, x.mean(axis=0, keepdims=True)]).reshape(shape)


def _known_classes(x, shape, _):
    return x[:-1]


def _codes(x, shape, context):
    rows = np.zeros(shape, x.dtype)  # special tokens without a code have rows that nobody reads
    rows[: context["codes"]], rows[-1] = x[:-1], x[-1]
    return rows


def _codes_back(x, shape, context):
    return np.concatenate([x[: context["codes"]], x[-1:]])


def _linear(outputs_from):
    """A kernel [inputs …, outputs …] of which torch has the matrix [outputs, inputs]."""

    def shape(s, _):
        return math.prod(s[outputs_from:]), math.prod(s[:outputs_from])

    return Layout(shape, _transposed, lambda x, s, _: x.reshape(s[::-1]).T)


LAYOUTS = {
    "same": Layout(lambda s, _: s, _reshaped, _reshaped),
    # The axes of a bias are one.
    "flat": Layout(lambda s, _: (math.prod(s),), _reshaped, _reshaped),
    "row": Layout(lambda s, _: (1, *s), _reshaped, _reshaped),  # of a layer with one output
    "linear": _linear(1),  # one axis of inputs
    "joined": _linear(-1),  # one axis of outputs
    "count": Layout(lambda s, _: s, _reshaped, _reshaped),  # the same, of whole numbers
    # Rows of a vocabulary's tokens, in its own order; ``context['rows']``: where each belongs.
    "tokens": Layout(lambda s, context: (len(context["rows"]), *s[1:]), _tokens, _tokens_back),
    # Rows of the vocabulary's genes alone, in our order; ``context['genes']``: how many.
    "genes": Layout(lambda s, context: (context["genes"], *s[1:]), _genes, _genes_back),
    # Rows of all tokens, P numbers each, in rows P·token + number: [P·T, D] in [R, P·D], D being
    # ``context['width']``, and their biases [P·T] in [R, P].
    "parted": Layout(_parted_shape, _tokens, _tokens_back),
    "parted_bias": Layout(lambda s, context: (len(context["rows"]) * s[1],), _tokens, _tokens_back),
    # Rows of classes; behind them comes that of an unknown one, for which their mean stands.
    "classes": Layout(lambda s, _: (s[0] - 1, *s[1:]), _classes, _known_classes),
    # Rows of special tokens' codes, ``context['codes']`` of them, and in a last one that of zero.
    "codes": Layout(lambda s, context: (context["codes"] + 1, *s[1:]), _codes, _codes_back),
}
