"""Pictures of a disease's signature in the clusters of an embedding."""

import numpy as np

from jaxcell.drawing import short, titled
from jaxcell.palette import FAINT, GRID, INK, LINE, OTHER, PALETTE, SEQUENTIAL, SKY, VERMILION

from .tables import number

MAP, BELOW, GAP = 3.6, 1.75, 0.35  # inches
DISEASED, HEALTHY = VERMILION, SKY


def clusters_figure(path, name, part, cells):
    """Maps of cells by cluster, score and disease; below, scores and disease by cluster.

    part : {'layout' [[x, y], …], 'members' [int, …], 'rows' of `signatures.by_cluster`, 'carrier'}
    cells : {'score' [float, …], 'is_diseased' [0 or 1, …]} of the same cells
    """
    from matplotlib.figure import Figure

    layout, members = np.array(part["layout"]), np.array(part["members"])
    score, diseased = np.array(cells["score"]), np.array(cells["is_diseased"], bool)
    width, height = 3 * MAP + 4 * GAP, MAP + BELOW + 1.75
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, short(name, 60), _caption(part), left=GAP)
    maps = []
    for i, title in enumerate(("cluster", "signature score", "disease")):
        box = [(GAP + i * (MAP + GAP)) / width, (BELOW + 0.85) / height]
        axes = figure.add_axes([*box, MAP / width, MAP / height])
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"by {title}", size=10, color=INK, loc="left", y=1.0, pad=4)
        axes.spines[:].set_color(LINE)
        maps.append(axes)
    order = np.random.default_rng(0).permutation(len(layout))
    size = float(np.clip(9_000 / len(layout), 2, 14))
    colours = [_colour(k) for k in range(len(part["rows"]))]
    _scatter(maps[0], layout, order, size, np.array(colours)[members])
    _number(maps[0], layout, members)
    low, high = np.percentile(score, [2, 98])
    drawn = maps[1].scatter(
        *layout[order].T, s=size, c=score[order], lw=0, cmap=SEQUENTIAL, vmin=low, vmax=high
    )
    bar = figure.colorbar(drawn, cax=maps[1].inset_axes([0.6, 1.02, 0.4, 0.022]),
                          orientation="horizontal")  # fmt: skip
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(labelsize=7, length=2, pad=1)
    bar.outline.set_visible(False)
    _scatter(maps[2], layout, order, size, np.where(diseased, DISEASED, HEALTHY))
    _two(maps[2])
    half = (width - 3.2 * GAP - 0.5) / 2
    for i, draw in enumerate((_scores, _shares)):
        box = [(GAP + 0.25 + i * (half + GAP + 0.45)) / width, 0.42 / height]
        axes = figure.add_axes([*box, half / width, BELOW / height])
        draw(axes, part, score, members, diseased, colours)
        _plain(axes, part)
    figure.savefig(path, metadata={"Software": None})


def _caption(part):
    if part["carrier"] is None:
        return f"{len(part['rows'])} clusters, none carries the signature"
    own = part["rows"][part["carrier"]]
    return (
        f"{len(part['rows'])} clusters; cluster {part['carrier']} carries the signature: effect "
        f"{number(own['effect'])}, {own['cells']} cells, {number(own['diseased'])} of them diseased"
    )


def _colour(k):
    return PALETTE[k] if k < len(PALETTE) else OTHER


def _scatter(axes, layout, order, size, shade):
    axes.scatter(*layout[order].T, s=size, c=shade[order], lw=0, alpha=0.85)


def _number(axes, layout, members):
    """Each cluster's number at the cell nearest to its median."""
    from matplotlib.patheffects import withStroke

    for k in np.unique(members):
        own = layout[members == k]
        middle = np.median(own, axis=0)
        axes.text(
            *own[np.argmin(((own - middle) ** 2).sum(axis=1))], str(k), size=10, weight="bold",
            color=INK, ha="center", va="center",
            path_effects=[withStroke(linewidth=2.6, foreground="white")],
        )  # fmt: skip


def _two(axes):
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], marker="o", ls="", ms=6, mew=0, color=c) for c in (DISEASED, HEALTHY)]
    axes.legend(
        marks, ["diseased", "healthy"], loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2,
        fontsize=8.5, frameon=False, handletextpad=0.1, columnspacing=0.8, labelcolor=INK,
    )  # fmt: skip


def _scores(axes, part, score, members, diseased, colours):
    there = [k for k in range(len(part["rows"])) if (members == k).sum() > 1]
    parts = axes.violinplot([score[members == k] for k in there], there, widths=0.85,
                            showmedians=True, showextrema=False)  # fmt: skip
    for body, k in zip(parts["bodies"], there, strict=True):
        body.set(facecolor=colours[k], edgecolor="none", alpha=0.75)
    parts["cmedians"].set(color=INK, lw=1.2)
    axes.axhline(0, color=FAINT, lw=0.8, ls=":")
    axes.set_title("score by cluster (below: its cells)", size=10, color=INK, loc="left", pad=4)


def _shares(axes, part, score, members, diseased, colours):
    shares = [row["diseased"] for row in part["rows"]]
    axes.bar(range(len(shares)), shares, 0.7, color=DISEASED, alpha=0.85)
    axes.axhline(diseased.mean(), color=INK, lw=0.9, ls=":")
    for k, share in enumerate(shares):  # at the foot, clear of the dotted line
        room = share > 0.12
        axes.text(
            k, 0.03 if room else share + 0.02, number(share), size=8, ha="center", va="bottom",
            color="white" if room else INK,
        )  # fmt: skip
    axes.set_ylim(0, 1.05)
    axes.set_title(
        "share of diseased cells (dotted: of all)", size=10, color=INK, loc="left", pad=4
    )


def _plain(axes, part):
    places = range(len(part["rows"]))
    texts = [f"{k}\n{row['cells']}" for k, row in enumerate(part["rows"])]
    axes.set_xticks(places, texts, size=8)
    for tick, k in zip(axes.get_xticklabels(), places, strict=True):
        tick.set(weight="bold" if k == part["carrier"] else "normal", color=INK)
    axes.set_xlim(-0.6, len(part["rows"]) - 0.4)
    axes.tick_params(length=0, labelsize=8)
    axes.tick_params(axis="y", labelcolor=FAINT)
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
