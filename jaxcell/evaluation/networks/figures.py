"""Pictures of gene networks: a factor's targets, programs, gene vectors on a map."""

import numpy as np

from jaxcell.drawing import label, told_apart
from jaxcell.evaluation.names_in_figures import name_points
from jaxcell.palette import BLUE, DIVERGING, FAINT, FROM_WHITE, INK, LINE, ORANGE, OTHER, PALETTE


def _figure(width, height, layout="constrained"):
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=140, facecolor="white", layout=layout)


def _save(figure, path):
    figure.savefig(path, metadata={"Software": None})


def _heat(path, title, values, rows, columns, bar, *, diverging):
    """A heat map with a number in each cell: values [r, c], names of its rows and columns."""
    height = 1.2 + 0.27 * len(rows) + 0.07 * max(map(len, columns))
    figure = _figure(2.6 + 0.085 * max(map(len, rows)) + 0.75 * len(columns), height)
    axes = figure.add_subplot()
    top = float(np.abs(values).max()) or 1.0
    how = dict(cmap=DIVERGING, vmin=-top, vmax=top) if diverging else dict(cmap=FROM_WHITE, vmin=0)
    image = axes.imshow(values, aspect="auto", **how)
    low, high = image.get_clim()
    for (i, j), value in np.ndenumerate(values):
        dark = abs(value) > 0.6 * top if diverging else value - low > 0.6 * (high - low)
        colour = "white" if dark else INK
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", size=7, color=colour)
    axes.set_yticks(range(len(rows)), told_apart(rows), size=8, color=INK)
    axes.set_xticks(range(len(columns)), told_apart(columns), size=8, color=INK)
    if max(map(len, columns)) > 8:
        axes.tick_params(axis="x", rotation=35)
        for text in axes.get_xticklabels():
            text.set_ha("right")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, size=10, color=INK, loc="left")
    shown = figure.colorbar(image, ax=axes, shrink=0.8)
    shown.set_label(bar, size=8, color=INK)
    shown.ax.tick_params(labelsize=7)
    shown.outline.set_visible(False)
    _save(figure, path)


def factor_heat_map(path, source, genes, conditions, z):
    """How strongly a factor's top genes read it in each condition: z [genes, conditions]."""
    title = f"{source}: the {len(genes)} genes it influences most"
    _heat(path, title, z, genes, conditions, "influence (z over genes)", diverging=True)


def program_heat_map(path, scores, programs, conditions):
    """Mean program scores [P, conditions]; programs: names of the rows."""
    _heat(path, "Gene programs", scores, programs, conditions, "mean score", diverging=False)


def factor_network(path, title, source, targets, strength, among):
    """A factor in the middle, its targets around it by strength, clockwise from the top.

    Parameters
    ----------
    targets : names; strength : of the edge to each [n]
    among : [(i, j, value)], the strongest edges between targets, drawn faintly
    """
    figure = _figure(6.2, 6.4)
    axes = figure.add_subplot()
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(targets)) / len(targets)
    x, y = np.cos(angle), np.sin(angle)
    for i, j, _ in among:
        axes.plot([x[i], x[j]], [y[i], y[j]], color=LINE, lw=0.8, zorder=1)
    strength = np.asarray(strength, float)
    share = (strength - strength.min()) / (np.ptp(strength) or 1.0)
    for i in range(len(targets)):
        width = 0.8 + 3.2 * share[i]
        axes.plot([0, x[i]], [0, y[i]], color=BLUE, lw=width, alpha=0.55, zorder=2)
    axes.scatter(x, y, s=60, color=ORANGE, edgecolor="white", zorder=3)
    axes.scatter([0], [0], s=950, color=BLUE, edgecolor="white", zorder=4)
    axes.text(0, 0, label(source, 10), ha="center", va="center", color="white", size=8, zorder=5)
    for i, name in enumerate(told_apart(targets, 16)):
        turn = np.rad2deg(angle[i]) % 360
        flip = 90 < turn < 270  # no name stands on its head
        axes.text(
            1.07 * x[i], 1.07 * y[i], name, size=8, color=INK, rotation_mode="anchor",
            rotation=turn - 180 if flip else turn, ha="right" if flip else "left", va="center",
        )  # fmt: skip
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
    axes.axis("off")
    axes.set_title(title, size=10, color=INK, loc="left")
    _save(figure, path)


def program_networks(path, programs, edges, most=6, genes=25):
    """The largest programs as networks, a panel each; edges by cosine, laid out by igraph.

    programs : {name: [gene, …]}; edges : of `program_edges`; genes : shown of each, by degree
    """
    import igraph

    shown = list(programs)[:most]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = _figure(4.2 * columns, 4.2 * rows, layout=None)  # names are placed in fixed axes
    figure.subplots_adjust(0.02, 0.02, 0.98, 1 - 0.35 / (4.2 * rows), 0.05, 0.12)
    for place, name in enumerate(shown, 1):
        axes = figure.add_subplot(rows, columns, place)
        own = [(a, b, c) for a, b, c, program in edges if program == name]
        degree = {g: sum(g in (a, b) for a, b, _ in own) for g in programs[name]}
        kept = sorted(degree, key=lambda g: (-degree[g], g))[:genes]
        at = {g: i for i, g in enumerate(kept)}
        own = [(at[a], at[b], c) for a, b, c in own if a in at and b in at]
        graph = igraph.Graph(len(kept), [(a, b) for a, b, _ in own])
        spots = np.array(graph.layout_circle().coords)
        if own:
            weights = [c for *_, c in own]
            start = spots.tolist()
            how = dict(weights=weights, seed=start)  # no chance in it: the start is a circle
            spots = np.array(graph.layout_fruchterman_reingold(**how).coords)
        for a, b, c in own:
            axes.plot(*spots[[a, b]].T, color=BLUE, lw=0.5 + 2 * c, alpha=0.35, zorder=1)
        axes.scatter(*spots.T, s=26, color=ORANGE, edgecolor="white", zorder=2)
        axes.margins(0.2)
        axes.axis("off")
        more = f", {len(kept)} shown" if len(kept) < len(programs[name]) else ""
        more += "" if own else ": none alike enough for an edge"
        axes.set_title(f"{name}: {len(programs[name])} genes{more}", size=9, color=INK, loc="left")
        name_points(axes, *spots.T, kept, colour=INK)
    _save(figure, path)


def gene_map(path, layout, genes, groups, title):
    """Gene vectors on a UMAP, the genes of some groups coloured and named.

    Parameters
    ----------
    layout : [M, 2]; genes : names [M]
    groups : {group: [gene, …]}; a gene of several has the colour of the first
    """
    figure = _figure(8.2, 6.4, layout=None)  # names are placed in fixed axes
    axes = figure.add_axes([0.02, 0.02, 0.72, 0.92])
    axes.scatter(*layout.T, s=5, color=OTHER, lw=0)
    place = {gene: i for i, gene in enumerate(genes)}
    named, done, dots = [], set(), {}
    for i, (group, own) in enumerate(zip(told_apart(groups), groups.values(), strict=True)):
        mine = [g for g in own if g not in done]
        done |= set(mine)
        at = [place[g] for g in mine]
        colour = PALETTE[i % len(PALETTE)]
        dots[group] = axes.scatter(*layout[at].T, s=22, color=colour, lw=0)
        named += zip(at, mine, strict=True)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(LINE)
    axes.set_title(title, size=10, color=INK, loc="left")
    if groups:
        axes.legend(
            dots.values(), dots, frameon=False, fontsize=8, loc="upper left",
            bbox_to_anchor=(1.0, 1.0), labelcolor=INK,
        )  # fmt: skip
    if named:
        at, names = zip(*named, strict=True)
        name_points(axes, *layout[list(at)].T, names, INK)
    _save(figure, path)


def auroc_bars(path, rows):
    """AUROC of each way to score edges: rows [(name, auroc, kind)], kind 'ours' or 'baseline'."""
    figure = _figure(6.2, 1.0 + 0.27 * len(rows))
    axes = figure.add_subplot()
    y = np.arange(len(rows))[::-1]
    for place, (_, value, kind) in zip(y, rows, strict=True):
        colour = BLUE if kind == "ours" else FAINT
        axes.plot([0.5, value], [place, place], color=colour, lw=2)
        axes.scatter([value], [place], s=34, color=colour, zorder=3, clip_on=False)
        axes.text(1.03, place, f"{value:.3f}", size=8, va="center", color=INK)
    axes.axvline(0.5, color=FAINT, lw=0.8, ls=":")
    axes.set(xlim=(min(0.4, *(r[1] for r in rows)) - 0.02, 1.0), ylim=(-0.6, len(rows) - 0.4))
    axes.set_yticks(y, told_apart([row[0] for row in rows], 48), size=8, color=INK)
    axes.set_xlabel(
        "AUROC of known targets (blue: the models', grey: baselines)", size=8, color=INK
    )
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    _save(figure, path)
