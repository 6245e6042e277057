"""What a compiled program needs: bytes on each device, its largest buffers, a compiler's refusal.

Of one device of the mesh, the same on all.
"""

import re
from typing import NamedTuple

import jax

from jaxcell.planning import hlo

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)i?B?"
_ALLOCATION = re.compile(
    rf"Size: {_SIZE}\s*\n"
    r"(?:\s+Operator: [^\n]*?op_name=\"([^\"]*)\"[^\n]*\n)?"
    r"\s+Shape: ([^\n{]*)"
)
# Operations whose results are other names for what is there already.
ALIASES = {
    *("tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "parameter"),
    *("optimization-barrier", "copy-done", "async-done", "all-gather-done", "all-reduce-done"),
    *("collective-permute-done", "send-done", "recv-done", "async-update"),
}


class Buffer(NamedTuple):
    """One array of a program: its bytes, shape and the operation that makes it."""

    bytes: int
    shape: str
    source: str


class Refusal(NamedTuple):
    """What a compiler says when memory does not suffice; None where it does not say it.

    needed : bytes of the program, roughly where the compiler gives up early
    limit : bytes that it may use
    buffers : the largest, largest first
    """

    needed: int | None
    limit: int | None
    buffers: list[Buffer]


def memory(compiled):
    """Bytes that a compiled program takes on each device.

    Returns
    -------
    dict with 'arguments' and 'results' (donated arguments once, as arguments), 'temporary',
    'program' (its code) and 'needed', their sum
    """
    found = compiled.memory_analysis()
    parts = {
        "arguments": found.argument_size_in_bytes,
        "results": found.output_size_in_bytes - found.alias_size_in_bytes,
        "temporary": found.temp_size_in_bytes,
        "program": found.generated_code_size_in_bytes,
    }
    return {**parts, "needed": sum(parts.values())}


def buffers(text, number=8):
    """The largest arrays of a program in a device's main memory, one for each shape.

    They need not be there at the same time. Fused operations have none on the way; padding of a
    TPU's tiles is counted.

    Parameters
    ----------
    text : ``compiled.as_text()``

    Returns
    -------
    list of Buffer, largest first
    """
    found, entry = hlo.computations(text)
    fused = {
        called
        for lines in found.values()
        for one in lines
        if one.op not in ("while", "conditional", "call")
        for called in hlo.called_by(one)
    }
    largest = {}
    for name in hlo.executions(found, entry):
        for one in () if name in fused else found[name]:
            if one.op in ALIASES and not (name == entry and one.op == "parameter"):
                continue
            for dtype, dims, size, space in hlo.arrays(one.shape):
                shape = hlo.text_of(dtype, dims)
                known = largest.get(shape)
                # The first with a path in Python, or an argument's name, tells best what it is.
                if not space and (known is None or not re.search(r"[/\[]", known.source)):
                    largest[shape] = Buffer(size, shape, one.source)
    return sorted(largest.values(), key=lambda b: -b.bytes)[:number]


def refusal(error):
    """What a compiler's error says about memory.

    Raises
    ------
    the error itself, when it is about something else
    """
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "Ran out of memory" not in text:
        raise error
    if early := re.search(rf"temporaries \({_SIZE}\) exceeds available \w+ \({_SIZE}\)", text):
        return Refusal(_bytes(early[1], early[2]), _bytes(early[3], early[4]), [])
    used = re.search(rf"Used {_SIZE} of {_SIZE}", text)
    found = _ALLOCATION.finditer(text)
    listed = [Buffer(_bytes(m[1], m[2]), m[4].strip(), m[3] or "") for m in found]
    return Refusal(
        _bytes(used[1], used[2]) if used else None,
        _bytes(used[3], used[4]) if used else None,
        listed,
    )


def _bytes(number, unit):
    return int(float(number) * UNITS[unit])


def compile_or_refusal(lowered):
    """(compiled program, None), or (None, Refusal) where memory does not suffice."""
    try:
        return lowered.compile(), None
    except jax.errors.JaxRuntimeError as error:
        return None, refusal(error)
