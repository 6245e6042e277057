"""What `jaxcell.bench.loader` found, as text and as a picture."""

from jaxcell.bench.loader_sides import RAW, TXFM
from jaxcell.palette import BLUE, OTHER

COLOURS = {True: BLUE, False: OTHER}


def aligned(lines):
    """Rows of cells as text in columns; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def best_peer(rows, group):
    """Cells a second of one core of the quickest other loader with random access; None: none."""
    peers = [r for r in rows if r["group"] == group and r["random"] and not r["absent"]]
    found = [r["warm"]["core"] for r in peers if r["loader"] and not r["ours"]]
    return max(found, default=None)


def table(rows):
    """The rows as aligned text, group after group."""
    head = (
        "a core",
        "µs/cell",
        "× best peer",
        "by the clock",
        "cold, a core",
        "cold, by the clock",
    )
    lines = []
    for group in dict.fromkeys(row["group"] for row in rows):
        lines.append((f"{group}, cells/s", *head))
        base = best_peer(rows, group)
        for row in (row for row in rows if row["group"] == group):
            name = f"  {row['name']}{'' if row['random'] else ' *'}"
            if row["absent"]:
                lines.append((name, row["absent"], *[""] * 5))
                continue
            core, cold = row["warm"]["core"], row["cold"] or {}
            lines.append(
                (
                    name,
                    _number(core),
                    f"{1e6 / core:.1f}" if core else "–",
                    f"{core / base:.1f}" if core and base else "",
                    _number(row["warm"]["clock"]),
                    _number(cold.get("core")),
                    _number(cold.get("clock")),
                )
            )
    starred = any(not row["random"] for row in rows)
    return aligned(lines) + (
        "\n* neighbouring cells come together: not random access" if starred else ""
    )


def _number(value):
    return f"{value:,.0f}" if value else "–"


def distant_table(rows):
    """Cells a second by latency (down) and reads under way × threads (across)."""
    ways = list(dict.fromkeys((row["at_once"], row["threads"]) for row in rows))
    lines = [("latency", *(f"{a} at once, {t} threads" for a, t in ways))]
    for latency in dict.fromkeys(row["latency"] for row in rows):
        mine = {(r["at_once"], r["threads"]): r for r in rows if r["latency"] == latency}
        lines.append((f"{1e3 * latency:g} ms", *(_number(mine[w]["cells_per_s"]) for w in ways)))
    return aligned(lines)


def figure(path, rows, title):
    """Cells a second of one core on a logarithmic axis: full, pages in memory; hollow, not."""
    from matplotlib.figure import Figure

    groups = [g for g in (RAW, TXFM) if any(row["group"] == g for row in rows)]
    shown = {
        g: [r for r in rows if r["group"] == g and not r["absent"] and r["warm"]["core"]][::-1]
        for g in groups
    }
    heights = [len(shown[g]) for g in groups]
    made = Figure(figsize=(8, 1.2 + 0.3 * sum(heights)), layout="constrained", dpi=150)
    for axes, group in zip(
        made.subplots(len(groups), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0],
        groups,
        strict=True,
    ):
        _panel(axes, shown[group], group)
    axes.set_xlabel("cells a second of one core; full: file in memory, hollow: read from the disk")
    made.suptitle(title, fontsize=9, x=0.01, ha="left")
    made.savefig(path, metadata={"Software": None})


def _panel(axes, rows, group):
    for place, row in enumerate(rows):
        colour, value = COLOURS[row["ours"]], row["warm"]["core"]
        axes.scatter(value, place, c=colour, s=45, zorder=3)
        if row["cold"]:
            axes.scatter(
                row["cold"]["core"], place, facecolors="white", edgecolors=colour, s=35, zorder=2
            )
        axes.annotate(
            f"{value:,.0f}", (value, place), (8, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    names = [row["name"] + ("" if row["random"] else " *") for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.grid(axis="both", color="#e5e5e5", zorder=0)
    axes.set_title(f"{group}; * neighbouring cells come together", fontsize=8, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
