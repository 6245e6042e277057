"""The engine: tensors of a foreign state dict ↔ parameters of a `CellModel`, by a table of rules.

Every source tensor is used or left out by a rule, every target is filled, and all of it is checked
before anything is made; and by the same rules parameters become tensors. The tables are in
``jaxcell/conversion/rules/``.
"""

import functools
import re
from typing import NamedTuple

import jax
import numpy as np

from jaxcell.conversion.layouts import LAYOUTS
from jaxcell.progress import each


class Rule(NamedTuple):
    """Which tensor goes where.

    source : name of a tensor; ``{at}`` in it is a number, the place along the first axis of the
        target, in which tensors are stacked (layers, domains)
    target : path of a parameter; or several, among which the tensor is split along ``axis``
    how : of LAYOUTS, how the tensor is laid out in the target
    at : place along the first axis of the target where the source's name has no number for it
    start : the number in the name of what has the first place; lower ones are of other rules
    slot : (axis, place) behind the stacked axis, of a tensor that is one of several which together
        make up the parameter (query, key and value)
    """

    source: str
    target: str | tuple[str, ...]
    how: str = "same"
    at: int | None = None
    axis: int = 0
    start: int = 0
    slot: tuple[int, int] | None = None

    @property
    def targets(self):
        """Paths of the targets, one or several."""
        return (self.target,) if isinstance(self.target, str) else self.target


class LeftOut(NamedTuple):
    """Tensors that are not converted: a regular expression of their whole names, and why not."""

    source: str
    why: str


class Plan(NamedTuple):
    """What becomes of each tensor: used [(source, rule, at)], left_out {source: why}."""

    used: list
    left_out: dict


def plan(names, rules, left_out, shapes):
    """Find the rule of each tensor, and see that they fill all targets.

    names : of the source's tensors; shapes : {path: shape} of the targets
    rules, left_out : tables of `Rule` and `LeftOut`. Of several rules for a name that counts whose
        targets the model has; a name with a reason to be left out is where the model has none

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
        if rule is None or (reason and not all(path in shapes for path in rule.targets)):
            made.left_out[name] = reason
            continue
        for path in rule.targets:
            if path not in shapes or (at is not None and at >= shapes[path][0]):
                where = path if at is None else f"{path}[{at}]"
                raise ValueError(f"the tensor {name} is unexpected: the model has no {where}")
            there = filled.setdefault((path, at), {})
            other = next((there[slot] for slot in (rule.slot, None) if slot in there), None)
            if other or (there and rule.slot is None):
                other = other or next(iter(there.values()))
                raise ValueError(f"the tensors {other} and {name} are the same: {path}")
            there[rule.slot] = name
        made.used.append((name, rule, at))
    _check_filled(filled, rules, shapes)
    return made


@functools.cache
def _pattern(source):
    return re.compile(re.escape(source).replace(r"\{at\}", "([0-9]{1,6})"))


def _rule_of(name, rules, shapes):
    """(rule, place along the first axis) of a tensor; of its rules that whose targets there are."""
    found = []
    for rule in rules:
        if match := _pattern(rule.source).fullmatch(name):
            at = int(match[1]) - rule.start if match.groups() else rule.at
            if at is None or at >= 0:
                found.append((rule, at))
    found.sort(key=lambda one: not all(path in shapes for path in one[0].targets))
    return found[0] if found else (None, None)


def _check_filled(filled, rules, shapes):
    for path, shape in sorted(shapes.items()):
        mine = [rule for rule in rules if path in rule.targets]
        stacked = any("{at}" in rule.source or rule.at is not None for rule in mine)
        for at in range(shape[0]) if stacked else (None,):
            there = filled.get((path, at), {})
            lacking = [r for r in mine if r.at in (None, at) and r.slot not in there]
            if None in there or (there and not any(rule.slot for rule in lacking)):
                continue
            names = (r.source.replace("{at}", str((at or 0) + r.start)) for r in lacking)
            where = path if at is None else f"{path}[{at}]"
            raise ValueError(
                f"the tensor {' or '.join(names) or 'of any known name'} is missing: nothing "
                f"fills {where}"
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
    for name, rule, at in each(made.used, "check", "tensor"):
        own = [_own_shape(rule, at, shapes[path]) for path in rule.targets]
        x = _checked(name, tensors[name], _source_shape(rule, own, context), rule.how, dtype)
        parts.append((rule, at, own, x))
    found = {path: np.empty(shape, dtype) for path, shape in shapes.items()}
    for rule, at, own, x in each(parts, "convert", "tensor"):
        layout, start = LAYOUTS[rule.how], 0
        for path, shape in zip(rule.targets, own, strict=True):
            width = layout.shape(shape, context)[rule.axis] if len(own) > 1 else None
            mine = x if width is None else np.take(x, range(start, start + width), rule.axis)
            start += width or 0
            found[path][_place(rule, at)] = layout.make(mine, shape, context)
    return found


def _own_shape(rule, at, shape):
    """The shape of what a tensor fills of a parameter."""
    shape = list(shape if at is None else shape[1:])
    if rule.slot:
        del shape[rule.slot[0]]
    return tuple(shape)


def _place(rule, at):
    """The index of what a tensor fills of a parameter."""
    index = [] if at is None else [at]
    if rule.slot:
        axis, place = rule.slot
        index += [slice(None)] * axis + [place]
    return (*index, ...)


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
            found[rule.source.replace("{at}", str((at or 0) + rule.start))] = np.ascontiguousarray(
                whole
            )
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
        x = x.astype(dtype, copy=False)  # weights are large
    if not np.isfinite(x).all():
        raise ValueError(f"the tensor {name} holds NaN or infinite values")
    return x
