"""``jaxcell doctor`` on the command line: its arguments, and what it found as text."""

import json
import sys


def doctor(p):
    """Arguments of ``jaxcell doctor``."""
    p.add_argument(
        "source", metavar="FILE", nargs="?", help="an input of prepare, or a store: what to do next"
    )
    p.add_argument("--checkpoint", metavar="MODEL", help="whose genes are matched with FILE's")
    p.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="of training; 0: none. 10"
    )
    p.add_argument("--json", action="store_true", help="all of it as JSON")

    def run(asked):
        from jaxcell import doctor

        as_json = asked.pop("json")
        found = doctor(asked.pop("source"), progress=not as_json, **asked)
        print(json.dumps(found, indent=1) if as_json else show(found))
        if found["problems"]:
            sys.exit(1)

    p.set_defaults(verb=run)


def show(found):
    """What was found as text: the machine, the file, and what is wrong."""
    parts = ["\n".join(f"{what:>10}  {line}" for what, line in _machine(found))]
    if found["source"]:
        parts.append(found["source"]["table"])
        parts.append("\n".join(f"- {line}" for line in found["source"]["said"]))
        if found["source"]["commands"]:
            lines = "\n".join(f"  {line}" for line in found["source"]["commands"])
            parts.append(f"to paste next, in a checkout:\n{lines}")
    parts += ["\n".join(f"note: {text}" for text in found["notes"])] * bool(found["notes"])
    if found["problems"]:
        parts.append("\n".join(f"wrong: {text}" for text in found["problems"]))
    else:
        parts.append("jaxcell works here" + "; the file can be used" * bool(found["source"]))
    return "\n\n".join(parts)


def _machine(found):
    """(what, line) of everything but the file."""
    from jaxcell.writing import size

    there = [f"{name} {v}" for name, v in found["versions"].items() if v]
    absent = [name for name, v in found["versions"].items() if not v]
    yield "versions", ", ".join(there) + (f"; not here: {', '.join(absent)}" if absent else "")
    for one in found["devices"]:
        free = f", {size(one['free'])} free" if one["free"] is not None else ""
        yield (
            "device",
            f"{one['name']} ({one['kind']}){free}; bfloat16 {one['bfloat16']}: training "
            f"multiplies in {one['training']}",
        )
    memory = found["memory"]
    free = "unknown" if memory["free"] is None else size(memory["free"])
    yield "memory", f"{free} of {size(memory['total'])} free"
    for one in found["disk"]:
        yield (
            "disk",
            f"{size(one['free'])} free in {one['path']}"
            + ", which cannot be written" * (not one["writable"]),
        )
    extras = found["extras"]
    yield "extras", ", ".join(n for n, one in extras.items() if not one["missing"]) or "none"
    for one in (one for one in extras.values() if one["missing"]):
        yield "not here", f"{one['pip']}  ({', '.join(one['missing'])})"
    if one := found["training"]:
        loss = f"loss {one['first']:.6g} → {one['last']:.6g}" if one["finite"] else "loss NaN"
        yield (
            "training",
            f"{one['config']}, {one['dtype']}: compiled in {one['compile_s']:.1f} s, "
            f"{one['steps']} steps, {one['steps_per_s']:.1f} a second, {loss}",
        )
