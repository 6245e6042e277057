"""What benchmarks show of a machine: peaks, memory, tables, a picture of two sides."""

import json
import sys
from pathlib import Path

import jax

from jaxcell.palette import BLUE, ORANGE

# Dense bf16 TFLOP/s by the vendors' datasheets; the first name that a device kind contains counts.
PEAKS = (
    ("H200", 989), ("H100", 989), ("A100", 312), ("L40S", 362), ("L4", 121),
    ("v6 lite", 918), ("v6e", 918), ("v5 lite", 197), ("v5e", 197), ("v5", 459), ("v4", 275),
)  # fmt: skip
UNKNOWN = {"mfu": "unknown peak of this device", "peak_gb": "not told by this device"}


def peak_tflops(device_kind):
    """Published dense bf16 peak of a device kind in TFLOP/s; None when it is not in the table."""
    return next((peak for name, peak in PEAKS if name.lower() in device_kind.lower()), None)


def peak_gb():
    """Most memory in use so far on the fullest device, in GB; None where it does not tell."""
    found = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in jax.local_devices()]
    return max(found) / 1e9 if all(found) else None


def planned_gb(plan):
    """What XLA plans to hold on a device during a step, in GB; None where it does not say."""
    if plan is None:
        return None
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return (held + plan.temp_size_in_bytes) / 1e9


def plainly(main, asked):
    """Run a benchmark; a mistake of the user's ends in one line, not a traceback."""
    try:
        main(asked)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")


def check_folder(path):
    """Raise ValueError, before anything is measured, where a file cannot be written."""
    if path and not Path(path).absolute().parent.is_dir():
        raise ValueError(f"--json {path}: there is no folder {Path(path).parent}")


def show(result):
    """Print a result, a line for each of its numbers."""
    for name, value in result.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name:>12}  {UNKNOWN.get(name, 'unknown') if value is None else shown}")


def write(result, path):
    """Write a result as JSON, where a path is given."""
    if path:
        Path(path).write_text(json.dumps(result, indent=1))


def write_sides(found, out, what="training step"):
    """Print two sides and their ratio; into a folder, where one is given, JSON and a picture.

    found : of `turns.alternate`, and 'ratio'
    """
    for name, side in found.items():
        if name != "ratio":
            print(f"{name}:")
            show({k: v for k, v in side.items() if k != "turns"})
    print(f"jaxcell ÷ torch: {found['ratio']:.3f} × the cells per second, medians of turns")
    if not out:
        return
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write(found, out / "sides.json")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure((6.4, 2.6), dpi=140, layout="constrained", facecolor="white")
    axes = figure.subplots()
    for place, (name, colour) in enumerate((("torch", ORANGE), ("jaxcell", BLUE))):
        side = found[name]
        axes.barh(place, side["cells_per_s"], color=colour, height=0.55)
        axes.plot(side["turns"], [place] * len(side["turns"]), "|", color="black", ms=12)
        text = f" {side['cells_per_s']:,.1f}"
        axes.text(max(side["turns"]), place, text, va="center", size=9)
    axes.set_yticks([0, 1], ["PyTorch", "jaxcell"])
    axes.set(xlabel="cells per second (bar: median; ticks: turns)")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    ours = found["jaxcell"]
    title = f"{ours['config']}, {what}: {ours['batch']} cells × {ours['tokens']:,} tokens, "
    axes.set_title(f"{title}{ours['dtype']}, {ours['device']}", size=9, loc="left")
    figure.savefig(out / "sides.png", metadata={"Software": None})
    print(f"picture: {out / 'sides.png'}")
