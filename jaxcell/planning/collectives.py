"""What the devices of a mesh tell each other in a compiled step: kinds, sizes, how often."""

import re
from typing import NamedTuple

from jaxcell.planning import hlo

KINDS = (
    *("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)
_CHAIN = re.compile(r'chain_id="?(\d+)')
_CHANNEL = re.compile(r"channel_id=(\d+)")


class Collective(NamedTuple):
    """One collective operation of a program.

    kind : of ``KINDS``
    shape : its result, 'bf16[44416,768]'; of several arrays, joined by ', '
    bytes : on each device, of one execution: the larger of what goes in and what comes out, so a
        gathered array counts whole, and so does one that is reduced and scattered
    count : executions in a step (a loop over layers runs it so many times)
    group : devices that take part; None where the text names pairs of devices
    source : path of the operation that it belongs to, '' where the compiler does not say
    """

    kind: str
    shape: str
    bytes: int
    count: int  # type: ignore[assignment] # of a tuple it is a method
    group: int | None
    source: str


def collectives(text):
    """The collectives of a compiled program, from ``compiled.as_text()``.

    Parameters
    ----------
    text : optimised HLO, of any backend

    Returns
    -------
    list of Collective, the largest traffic (bytes · count) first
    """
    found, entry = hlo.computations(text)
    times, above = hlo.executions(found, entry), _callers(found)
    devices = re.search(r"num_partitions=(\d+)", text)
    seen, out = set(), []
    for name, number in times.items():
        for one in found[name]:
            kind = one.op.removesuffix("-start")
            if kind not in KINDS:
                continue
            # A TPU hides a collective behind several fusions, each with a copy of it in its text.
            chain, channel = _CHAIN.search(one.rest), _CHANNEL.search(one.rest)
            if chain and channel:
                outer = _outer(name, above)
                if (outer, chain[1], channel[1]) in seen:
                    continue
                seen.add((outer, chain[1], channel[1]))
                number = times[outer]
            size, shape = _payload(one, found[name])
            # There, a reduction of which each device keeps a part is a fusion of this name.
            scatters = kind == "all-reduce" and name.startswith("all-reduce-scatter")
            out.append(
                Collective(
                    "reduce-scatter" if scatters else kind,
                    shape,
                    size,
                    number,
                    _group(one.rest, int(devices[1]) if devices else 1),
                    one.source,
                )
            )
    return sorted(out, key=lambda c: -c.bytes * c.count)


def by_kind(found):
    """{kind: {'count': executions, 'bytes': of all of them}} of a list of Collective, by name."""
    sums = {}
    for one in found:
        total = sums.setdefault(one.kind, {"count": 0, "bytes": 0})
        total["count"] += one.count
        total["bytes"] += one.count * one.bytes
    return dict(sorted(sums.items()))


def _callers(found):
    """{fused computation: computation that runs the fusion}."""
    return {
        called: name
        for name, lines in found.items()
        for one in lines
        if one.op in ("fusion", "call")
        for called in hlo.called_by(one)
    }


def _outer(name, above):
    while name in above:
        name = above[name]
    return name


def _payload(one, lines):
    """Bytes of a collective, and the text of its result without layouts."""
    known = {other.name: other.shape for other in lines}
    given = [known[name] for name in one.operands if name in known]
    results = hlo.arrays(one.shape)
    if one.op in ("all-gather-start", "collective-permute-start"):
        # (operands, results, …counters): as many results as operands
        n = sum(len(hlo.arrays(shape)) for shape in given) or 1
        results = results[n : 2 * n]
    texts = [hlo.text_of(dtype, dims) for dtype, dims, _, _ in results]
    taken = sum(hlo.plain_bytes(shape) for shape in given)
    return max(taken, sum(map(hlo.plain_bytes, texts))), ", ".join(texts)


def _group(rest, devices):
    """Number of devices in each replica group."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return len(listed[1].split(","))
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(iota[1])
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\].*?\{([^{}]*)\}", rest):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        size = 1
        for axis in re.findall(r"'([^']+)'", mesh[2]):
            size *= int(sizes[axis])
        return size
    return devices if "replica_groups={}" in rest else None
