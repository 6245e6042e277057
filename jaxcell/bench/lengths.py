"""What one block of each encoder costs over the length of its sequences, as a table and a picture.

python -m jaxcell.bench.step --config=configs/bmfm_rna_mlm.py --lengths=1024,2048,4096 --out=DIR
"""

import json
import sys
from pathlib import Path

from jaxcell.models.cell import queries_of
from jaxcell.palette import BLUE, GREEN, ORANGE

EXACT_TO = 8192  # tokens; beyond, exact attention of a block takes minutes on a CPU
KINDS = ("exact", "performer", "nystrom")
LOOKS = {"exact": (BLUE, "o"), "performer": (ORANGE, "s"), "nystrom": (GREEN, "^")}


def over_lengths(c, lengths, measure, cells=1, steps=1):
    """Measure a training step of one block for each encoder and length.

    Parameters
    ----------
    c : a settled config whose heads read every token, as a masked language model's do
    lengths : tokens of a cell, special ones included
    measure : ``bench.step.measure``
    cells, steps : of each measurement

    Returns
    -------
    list of dict with attention, tokens, seconds, cells_per_s and planned_gb

    Raises
    ------
    ValueError
        Some heads read the first tokens alone, which is what the last block then computes.
    """
    if (read := queries_of(c.model)) is not None:
        raise ValueError(
            f"--lengths: the heads of {c.name} read the first {read} tokens alone, so that its one "
            "block computes no others; expected a config whose heads read all, as bmfm_rna_mlm"
        )
    rows = []
    for kind in KINDS:
        for tokens in sorted(lengths):
            if kind == "exact" and tokens > EXACT_TO:
                continue
            one = c.copy_and_resolve_references()
            one.model.encoder.layers, one.model.encoder.attention = 1, kind
            front = len(one.model.front or one.model.specials)
            one.data.sequence.number = one.data.sample_genes.number = tokens - front
            found = measure(one, cells, steps)
            kept = {k: found[k] for k in ("tokens", "seconds", "cells_per_s", "planned_gb")}
            rows.append({"attention": kind, **kept})
            print(show(rows[-1]), flush=True)
    return rows


def whole_numbers(texts, least):
    """Lengths from the command line."""
    for text in texts:
        if not text.strip().isdecimal() or int(text) < least:
            sys.exit(f"error: --lengths: found {text!r}, expected tokens, {least} at least")
    return [int(text) for text in texts]


def show(row):
    """A line of the table."""
    return (
        f"{row['attention']:>10} {row['tokens']:>7,} tokens {row['seconds']:>9.3f} s a step "
        f"{row['planned_gb']:>7.2f} GB"
    )


def write(rows, c, device, out):
    """lengths.json, and lengths.png where matplotlib is installed."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "lengths.json").write_text(json.dumps(rows, indent=1))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure((8.4, 3.9), dpi=140, layout="constrained", facecolor="white")
    panels = figure.subplots(1, 2)
    for axes, field, title in (
        (panels[0], "seconds", "seconds of a training step"),
        (panels[1], "planned_gb", "memory that XLA plans, GB"),
    ):
        for kind, (colour, marker) in LOOKS.items():
            mine = [row for row in rows if row["attention"] == kind]
            places = [row["tokens"] for row in mine], [row[field] for row in mine]
            axes.plot(*places, color=colour, marker=marker, ms=4, lw=1.4, label=kind)
        ticks = sorted({row["tokens"] for row in rows})
        axes.set(xscale="log", yscale="log", xlabel="tokens of a cell")
        axes.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=40, ha="right", size=8)
        axes.minorticks_off()
        axes.set_title(title, size=10, loc="left")
        axes.grid(True, color="#EEEEEE")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=9)
    figure.suptitle(
        f"One block of {c.name}, width {c.model.width}, on {device}", size=11, x=0.01, ha="left"
    )
    figure.savefig(out / "lengths.png", metadata={"Software": None})
    print(f"picture: {out / 'lengths.png'}")
