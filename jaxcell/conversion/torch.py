"""The engine: tensors of a foreign state dict ↔ parameters of a `CellModel`, by a table of rules.

Every source tensor is used or left out by a rule, every target is filled, and all of it is checked
before anything is made; and by the same rules parameters become tensors. The tables are in
``jaxcell/conversion/rules/``.
"""

import functools
import math
import re
from typing import NamedTuple

import jax
import numpy as np


class Rule(NamedTuple):
    """Which tensor goes where.

    source : name of a tensor; ``{at}`` in it is a number, the place along the first axis of the
        target, in which tensors are stacked (layers, domains)
    target : path of a parameter; or several, among which the tensor is split along ``axis``
    how : of LAYOUTS, how the tensor is laid out in the target
    at : place along the first axis of the target where the source's name has no number for it
    """

    source: str
    target: str | tuple[str, ...]
    how: str = "same"
    at: int | None = None
    axis: int = 0

    @property
    def targets(self):
        """Paths of the targets, one or several."""
        return (self.target,) if isinstance(self.target, str) else self.target


class LeftOut(NamedTuple):
    """Tensors that are not converted: a regular expression of their whole names, and why not."""

    source: str
    why: str


class Layout(NamedTuple):
    """How a tensor of torch lies in a parameter of ours.

    shape : (shape of the parameter, context) -> shape of the tensor
    make : (tensor, shape of the parameter, context) -> parameter
    back : (parameter, shape of the tensor, context) -> tensor
    """

    shape: callable
    make: callable
    back: callable


def _reshaped(x, shape, _):
    return x.reshape(shape)


def _transposed(x, shape, _):
    return x.T.reshape(shape)


def _tokens(x, shape, context):
    rows = np.zeros(shape, x.dtype)  # those that pad the table to a multiple stay zero
    rows[context["rows"]] = x
    return rows


def _genes(x, shape, context):
    return np.concatenate([x, np.zeros((shape[0] - context["genes"], *shape[1:]), x.dtype)])


def _genes_back(x, shape, context):
    return x[: context["genes"]]


def _classes(x, shape, _):
    return np.concatenate([x, x.mean(axis=0, keepdims=True)]).reshape(shape)


def _tokens_back(x, shape, context):
    return x[context["rows"]]


def _known_classes(x, shape, _):
    return x[:-1]


def _linear(outputs_from):
    """A kernel [inputs …, outputs …] of which torch has the matrix [outputs, inputs]."""

    def shape(s, _):
        return math.prod(s[outputs_from:]), math.prod(s[:outputs_from])

    return Layout(shape, _transposed, lambda x, s, _: x.reshape(s[::-1]).T)


LAYOUTS = {
    "same": Layout(lambda s, _: s, _reshaped, _reshaped),
    "flat": Layout(
        lambda s, _: (math.prod(s),), _reshaped, _reshaped
    ),  # the axes of a bias are one
    "linear": _linear(1),  # one axis of inputs
    "joined": _linear(-1),  # one axis of outputs
    "count": Layout(lambda s, _: s, _reshaped, _reshaped),  # the same, of whole numbers
    # Rows of a vocabulary's tokens, in its own order; ``context['rows']``: where each belongs.
    "tokens": Layout(lambda s, context: (len(context["rows"]), *s[1:]), _tokens, _tokens_back),
    # Rows of the vocabulary's genes alone, in our order; ``context['genes']``: how many.
    "genes": Layout(lambda s, context: (context["genes"], *s[1:]), _genes, _genes_back),
    # Rows of classes; behind them comes that of an unknown one, for which their mean stands.
    "classes": Layout(lambda s, _: (s[0] - 1, *s[1:]), _classes, _known_classes),
}


class Plan(NamedTuple):
    """What becomes of each tensor: used [(source, rule, at)], left_out {source: why}."""

    used: list
    left_out: dict


def plan(names, rules, left_out, shapes):
    """Find the rule of each tensor, and see that they fill all targets.

    names : of the source's tensors; shapes : {path: shape} of the targets
    rules, left_out : tables of `Rule` and `LeftOut`. Of several rules for a name that counts whose
        targets the model has

    Raises
    ------
    ValueError
        A tensor without a rule or whose target the model has not, or a target that nothing fills.
    """
    filled, made = {}, Plan([], {})
    for name in sorted(names):
        rule, at = _rule_of(name, rules, shapes)
        reason = next((one.why for one in left_out if re.fullmatch(one.source, name)), None)
        if rule is None and reason is None:
            raise ValueError(f"the tensor {name} is unexpected: no rule says what it is")
        if rule is None:
            made.left_out[name] = reason
            continue
        for path in rule.targets:
            if path not in shapes or (at is not None and at >= shapes[path][0]):
                where = path if at is None else f"{path}[{at}]"
                raise ValueError(f"the tensor {name} is unexpected: the model has no {where}")
            if (path, at) in filled:
                raise ValueError(f"the tensors {filled[path, at]} and {name} are the same: {path}")
            filled[path, at] = name
        made.used.append((name, rule, at))
    _check_filled(filled, rules, shapes)
    return made


@functools.cache
def _pattern(source):
    return re.compile(re.escape(source).replace(r"\{at\}", "([0-9]{1,6})"))


def _rule_of(name, rules, shapes):
    """(rule, place along the first axis) of a tensor; of its rules that whose targets there are."""
    found = [(rule, m) for rule in rules if (m := _pattern(rule.source).fullmatch(name))]
    found.sort(key=lambda one: not all(path in shapes for path in one[0].targets))
    if not found:
        return None, None
    rule, match = found[0]
    return rule, int(match[1]) if match.groups() else rule.at


def _check_filled(filled, rules, shapes):
    for path, shape in sorted(shapes.items()):
        mine = [rule for rule in rules if path in rule.targets]
        stacked = any("{at}" in rule.source or rule.at is not None for rule in mine)
        for at in range(shape[0]) if stacked else (None,):
            if (path, at) not in filled:
                wanted = " or ".join(rule.source.replace("{at}", str(at)) for rule in mine)
                where = path if at is None else f"{path}[{at}]"
                raise ValueError(
                    f"the tensor {wanted or 'of any known name'} is missing: nothing fills {where}"
                )


def convert_tensors(tensors, made, shapes, *, dtype=np.float32, **context):
    """The parameters that a plan makes of tensors.

    Parameters
    ----------
    tensors : {name: array}
    made : their `Plan`
    shapes : {path: shape} of the targets
    dtype : of the parameters; what is narrower is widened exactly
    context : what layouts ask for: rows i64 [tokens], the target's row of each source's token;
        genes, how many there are

    Returns
    -------
    {path: array}

    Raises
    ------
    ValueError
        A tensor of the wrong shape or type, or with a number that is none; all are checked first.
    """
    parts = []
    for name, rule, at in made.used:
        each = [shapes[p] if at is None else shapes[p][1:] for p in rule.targets]
        x = _checked(name, tensors[name], _source_shape(rule, each, context), rule.how, dtype)
        parts.append((rule, at, each, x))
    found = {path: np.empty(shape, dtype) for path, shape in shapes.items()}
    for rule, at, each, x in parts:
        layout, start = LAYOUTS[rule.how], 0
        for path, shape in zip(rule.targets, each, strict=True):
            width = layout.shape(shape, context)[rule.axis] if len(each) > 1 else None
            mine = x if width is None else np.take(x, range(start, start + width), rule.axis)
            start += width or 0
            found[path][... if at is None else at] = layout.make(mine, shape, context)
    return found


def tensors_of(parameters, rules, **context):
    """The tensors that a table of rules makes of parameters: the inverse of `convert_tensors`.

    parameters : {path: array}
    rules : of which one alone fills each parameter
    context : as of `convert_tensors`

    Returns
    -------
    {name: array}, contiguous, in the parameters' dtype; padded rows are left out

    Raises
    ------
    ValueError
        A parameter that no rule fills, or several.
    """
    used = [rule for rule in rules if all(path in parameters for path in rule.targets)]
    for path in parameters:
        if (number := sum(path in rule.targets for rule in used)) != 1:
            raise ValueError(f"the parameter {path}: found {number} rules, expected one")
    found = {}
    for rule in used:
        layout, arrays = LAYOUTS[rule.how], [parameters[path] for path in rule.targets]
        for at in range(len(arrays[0])) if "{at}" in rule.source else (rule.at,):
            each = [x if at is None else x[at] for x in arrays]
            parts = [layout.back(x, layout.shape(x.shape, context), context) for x in each]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=rule.axis)
            found[rule.source.replace("{at}", str(at))] = np.ascontiguousarray(whole)
    return found


def _source_shape(rule, each, context):
    """The shape that a tensor must have for its targets' shapes ``each``."""
    shapes = [LAYOUTS[rule.how].shape(shape, context) for shape in each]
    whole = list(shapes[0])
    if len(shapes) > 1:
        whole[rule.axis] = sum(shape[rule.axis] for shape in shapes)
    return tuple(whole)


def _checked(name, x, shape, how, dtype):
    """A tensor in the target's dtype, of the right shape, all of it numbers."""
    if x.shape != shape:
        raise ValueError(
            f"the tensor {name} has shape {x.shape}, the model that the checkpoint describes asks "
            f"for {shape}"
        )
    whole = how == "count" and np.issubdtype(x.dtype, np.integer)
    if not whole and not jax.dtypes.issubdtype(x.dtype, np.floating):
        raise ValueError(f"the tensor {name} is of type {x.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    if not np.isfinite(x).all():
        raise ValueError(f"the tensor {name} holds NaN or infinite values")
    return x
