"""``jaxcell plan`` on the command line: its arguments, and a plan as text."""

import argparse
import math

from jaxcell.verbs import options

GIB = 2**30


def arguments(p):
    """Add the verb's arguments to its parser."""
    p.add_argument("--config", required=True, metavar="FILE", help="in configs/, FILE.py[:variant]")
    p.add_argument(
        "--topology", default="local", help="v5e:4x4, v5p:2x2x2, v6e:16x16, …; this machine"
    )
    p.add_argument("--batch", type=int, metavar="CELLS", help="of a step; the config's by default")
    p.add_argument(
        "--memory", type=_gib, metavar="GIB", help="of each device; what the compiler may use"
    )
    p.add_argument(
        "--no-search", dest="search", action="store_false", help="do not find the largest batch"
    )
    p.add_argument("--out", metavar="FILE", help="also write it as JSON")
    options.fields(p)
    p.set_defaults(verb=run)


def _gib(text):
    """A number of GiB above 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of GiB above 0")
    return found


def run(asked):
    """Plan and print."""
    import jax

    from jaxcell import plan
    from jaxcell.overrides import read

    if asked["topology"] != "local":
        # Only shapes are traced here; whatever this machine has is left alone.
        jax.config.update("jax_platforms", "cpu")
    memory = asked.pop("memory")
    c = read(asked.pop("config"), asked.pop("overrides"))
    found = plan(c, memory=int(memory * GIB) if memory else None, say=print, **asked)
    print("\n" + show(found))


def show(found):
    """A plan as text: the answer first."""
    from jaxcell.planning.trials import size, verdict

    mesh = ", ".join(f"{axis} {size}" for axis, size in found["mesh"].items())
    asked, limit = found["asked"], found["memory"]
    lines = {
        "config": f"{found['config']}: {found['parameters']:,} parameters, {found['genes']:,} "
        f"genes, {found['tokens']:,} tokens a cell",
        "FLOPs": f"{found['flops_per_cell'] / 1e9:,.4g} G for a cell of a training step",
        "machine": f"{found['topology']}: {found['devices']} × {found['device_kind']}, mesh "
        f"{mesh}; {found['dtype']}; {found['kernel']}; remat: {found['remat']}",
        "memory": f"{size(limit)} a device, says {found['memory_told_by']}",
        "batch": f"{_cells(asked)}: {verdict(asked, limit)}",
        "largest": _largest(found),
        "hint": _hint(found),
    }
    text = "\n".join(f"{what:>10}  {said}" for what, said in lines.items() if said)
    detailed = asked if asked["fits"] else found["largest"] or asked
    return "\n\n".join([text, *_details(detailed)])


def _cells(one):
    return f"{one['batch']:,} cells, {one['cells']:,} a device"


def _largest(found):
    from jaxcell.planning.trials import verdict

    best, fails = found["largest"], found["fails"]
    if best is None:
        small = fails and fails["cells"] == 1
        return "not even one cell a device fits: more fsdp or tensor, or remat" if small else ""
    more = f"; {fails['batch']:,} do not" if fails else ""
    return f"{_cells(best)}: {verdict(best, found['memory'])}{more}"


def _hint(found):
    """How the batch that was asked for may be computed piece by piece, where it does not fit."""
    best, cells = found["largest"], found["asked"]["cells"]
    if found["asked"]["fits"] or best is None or not found["accumulates"]:
        return ""
    parts = next(n for n in range(2, cells + 1) if cells % n == 0 and cells // n <= best["cells"])
    number = parts * found["accumulate"]
    return (
        f"--config.train.accumulate={number} computes {found['asked']['batch']:,} cells in "
        f"{number} micro-batches of {cells // parts} a device, not tried"
    )


def _details(one):
    """Blocks of lines about one batch: its bytes, largest buffers and collectives."""
    from jaxcell.planning.trials import size

    if "split" in one:
        yield _block(
            f"bytes of a device, with {one['batch']:,} cells",
            [(size(number), part) for part, number in one["split"].items()],
        )
    if one.get("buffers"):
        yield _block(
            "largest buffers",
            [(size(b["bytes"]), b["shape"], b["source"]) for b in one["buffers"]],
        )
    if "collectives" in one:
        rows = [
            (size(sums["bytes"]), f"{kind}, {sums['count']} times")
            for kind, sums in one["collectives"].items()
        ]
        yield _block("collectives of a step, on each device", rows or [("", "none")])


def _block(title, rows):
    return "\n".join([f"{title}:", *(f"{first:>12}  {'  '.join(rest)}" for first, *rest in rows)])
