"""Reading the text of a compiled program: its computations, and how often a step runs each.

The text is what ``compiled.as_text()`` gives: scheduled HLO, for one device of the mesh.
"""

import math
import re
from typing import NamedTuple

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([\d,]*)(?::([^{}]*))?\})?")
_CALLED = re.compile(r"\b(calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SOURCE = re.compile(r'op_name="([^"]*)"')
_BITS = {"pred": 8, "token": 0, "opaque": 0}


class Instruction(NamedTuple):
    """One line of a computation: its result's ``shape`` and the ``rest`` behind the operation."""

    name: str
    shape: str
    op: str
    rest: str

    @property
    def source(self):
        """The path of the Python operation that it came from; '' where the compiler made it."""
        found = _SOURCE.search(self.rest)
        return found[1].replace("\\'", "'") if found else ""

    @property
    def operands(self):
        """Names of the operands."""
        return re.findall(r"%([\w.\-]+)", self.rest[: _closing(self.rest)])


def computations(text):
    """({computation: [Instruction]}, name of the entry computation) of a program's text.

    Raises
    ------
    ValueError
        When the text has no entry computation.
    """
    found, entry, lines = {}, None, None
    for line in text.splitlines():
        if lines is None:
            head = _HEAD.match(line) if "->" in line else None
            if head:
                lines = found[head[2]] = []
                entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            lines = None
        elif match := _LINE.match(line):
            lines.append(_instruction(match[1], match[2]))
    if entry is None:
        raise ValueError("found no ENTRY computation; expected the text of a compiled program")
    return found, entry


def _instruction(name, text):
    """'(f32[2], s32[]) op(%a, %b), …' → an Instruction."""
    end = _closing(text[1:]) + 2 if text.startswith("(") else text.index(" ")
    op, _, rest = text[end:].lstrip().partition("(")
    return Instruction(name, text[:end], op, rest)


def _closing(text):
    """Place of the parenthesis that closes one opened in front of the text."""
    depth = 1
    for match in re.finditer(r"[()]", text):
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return match.start()
    return len(text)


def arrays(shape):
    """[(dtype, dimensions, bytes, memory space)] of a shape's text, tuples taken apart.

    bytes are those that the array's tiles take on a TPU, padding included; memory space 0 is the
    device's main memory.
    """
    return [_array(*match) for match in _ARRAY.findall(shape)]


def _array(dtype, dims, order, how):
    sizes = [int(n) for n in dims.split(",")] if dims else []
    bits = _BITS.get(dtype) if dtype in _BITS else int((re.findall(r"\d+", dtype) or ["32"])[0])
    tile = re.search(r"T\(([\d,]+)\)", how)
    padded = [sizes[int(i)] for i in order.split(",")] if order and sizes else list(sizes)
    if tile and padded:
        for i, n in enumerate(reversed([int(n) for n in tile[1].split(",")])):
            if i < len(padded):
                padded[i] = -(-padded[i] // n) * n
    space = re.search(r"S\((\d+)\)", how)
    return dtype, tuple(sizes), math.prod(padded) * bits // 8, int(space[1]) if space else 0


def plain_bytes(shape):
    """Bytes of the numbers in a shape's text, without the padding of tiles."""
    bare = re.sub(r"\{[^{}]*\}", "", shape)
    return sum(size for _, _, size, _ in arrays(bare))


def text_of(dtype, dims):
    """'bf16[44416,768]'."""
    return f"{dtype}[{','.join(map(str, dims))}]"


def executions(found, entry):
    """{computation: how often a step runs it}, loops counted by their trips.

    A loop whose trips the text does not tell counts once; so does each branch of a conditional.
    Computations that are never called are left out.
    """
    times = {}

    def visit(name, number):
        times[name] = times.get(name, 0) + number
        for one in found[name]:
            trips = number * _trips(found, one) if one.op == "while" else number
            for called in called_by(one):
                visit(called, trips)

    visit(entry, 1)
    return times


def called_by(one):
    """Names of the computations that an instruction calls."""
    if one.op in ("async-update", "async-done"):  # they name again what async-start runs
        return []
    called = [name for _, name in _CALLED.findall(one.rest)]
    branches = _BRANCHES.search(one.rest)
    return called + (re.findall(r"[\w.\-]+", branches[1]) if branches else [])


def _trips(found, loop):
    """Trips of a while loop: as XLA noted them, or the bound in a condition ``i < constant``."""
    noted = _TRIPS.search(loop.rest)
    if noted:
        return int(noted[1])
    condition = dict(_CALLED.findall(loop.rest)).get("condition", "")
    lines = {one.name: one for one in found.get(condition, ())}
    compared = [one for one in lines.values() if one.op == "compare"]
    if len(compared) == 1 and "direction=LT" in compared[0].rest:
        bounds = [lines[n] for n in compared[0].operands if n in lines]
        numbers = [re.match(r"(\d+)\)", one.rest) for one in bounds if one.op == "constant"]
        if len(numbers) == 1 and numbers[0]:
            return int(numbers[0][1])
    return 1
