"""The pictures of learnability: one model in the paper's four panels (Figure 2), two models."""

import numpy as np

from jaxcell.drawing import titled, told_apart
from jaxcell.palette import BLUE, FAINT, GREEN, GRID, INK, LINE, ORANGE, OTHER, PALETTE, VERMILION

from .gene_partitions import PROGRAMS, REFERENCE
from .learnability import SPARSE
from .learnability_groups import ENOUGH
from .names_in_figures import name_points, spread
from .tables import number

WINNER, LOSER, GENE = BLUE, VERMILION, OTHER
NAMED = 8  # genes of a verdict, or families, that are named in a panel
CURVES = 8  # families in colour


def learnability_figure(path, name, genes, groups, curves=None):
    """A: error of each family. B: over epochs, or beside detection. C: the trend. D: odds ratios.

    Parameters
    ----------
    name : of the model
    genes : DataFrame of `learnability.score`
    groups : {'family' | 'program': `group_table`}
    curves : of `learnability.curves`, of the families; None draws detection in panel B
    """
    from matplotlib.figure import Figure

    families = {n: row for n, row in groups["family"]["all"].items() if row["genes"] >= ENOUGH}
    # The groups of a user's table may all be small: then they are all drawn.
    families = families or groups["family"]["all"]
    rows = len(families)
    height = max(11.5, 2.3 + 0.27 * rows)
    figure = Figure((14.2, height), dpi=140, facecolor="white")
    own = genes[genes["reliable"]]
    said = (
        f"{len(own)} reliable genes, {int(own['sparse'].sum())} of zero fraction above {SPARSE:g}; "
        "rescaled MAE: error of the non-zero entries over their mean"
    )
    titled(figure, f"Learnability: {name}", said)
    body, right = height - 1.65, 8.1 / 14.2
    third = (body - 1.7) / 3

    def place(i):
        bottom = 0.55 + (2 - i) * (third + 0.85)
        return figure.add_axes([right, bottom / height, 5.8 / 14.2, third / height])

    bottom = 0.55 / height
    panel = figure.add_axes([2.35 / 14.2, bottom, 3.1 / 14.2, body / height])
    beside = figure.add_axes([5.6 / 14.2, bottom, 1.45 / 14.2, body / height])
    _families(panel, beside, families, own)
    if curves:
        _curves(place(0), curves)
    else:
        _detection(place(0), families)
    _trend(place(1), own)
    _odds(place(2), groups)
    figure.savefig(path, metadata={"Software": None})


def comparison_figure(path, names, tables, groups, found):
    """Z of the genes and medians of the families in two models.

    names : (a, b); tables : their `score`; groups : their `group_table` of families
    found : of `learnability_groups.compare`
    """
    from matplotlib.figure import Figure

    (a, b), n = tables, found["winners"]
    one, two = (g["all"] for g in groups)
    shown = [f for f in one if f in two and min(one[f]["genes"], two[f]["genes"]) >= ENOUGH]
    shown.sort(key=lambda f: -one[f]["rescaled_mae"])
    height = max(5.9, 1.6 + 0.24 * len(shown))
    figure = Figure((12.4, height), dpi=140, facecolor="white")
    fold = "" if n["fold"] is None else f", {n['fold']:.1f} times chance"
    said = (
        f"{found['shared']} genes reliable in both; winners: {names[0]} {n['a']}, {names[1]} "
        f"{n['b']}, both {n['both']}{fold}"
    )
    titled(figure, "Two models", said)
    names = told_apart(names, 40)
    bottom, body = 0.6 / height, (height - 1.7) / height
    axes = figure.add_axes([0.06, (height - 5.2) / height, 0.37, 4.1 / height])
    shared = a.index[a["reliable"]].intersection(b.index[b["reliable"]])
    x, y = a.loc[shared, "z"].to_numpy(float), b.loc[shared, "z"].to_numpy(float)
    won = [(t.loc[shared, "verdict"] == "winner").to_numpy() for t in (a, b)]
    for mask, colour, text in (
        (~won[0] & ~won[1], GENE, "winner in neither"),
        (won[0] & ~won[1], ORANGE, f"{names[0]} only"),
        (won[1] & ~won[0], GREEN, f"{names[1]} only"),
        (won[0] & won[1], WINNER, "both"),
    ):
        axes.scatter(x[mask], y[mask], s=9, lw=0, color=colour, label=text, rasterized=True)
    _title(axes, "", "Z of each gene")
    _axes(axes, f"Z, {names[0]}", f"Z, {names[1]}")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, handletextpad=0.1, loc="upper left")

    axes = figure.add_axes([0.62, bottom, 0.36, body])
    for i, family in enumerate(shown):
        pair = [one[family]["rescaled_mae"], two[family]["rescaled_mae"]]
        axes.plot(pair, [i, i], color=LINE, lw=2, zorder=1)
        for value, colour in zip(pair, (ORANGE, GREEN), strict=True):
            axes.scatter(value, i, s=28, color=colour, lw=0, zorder=2)
    rho = found["families"]["rescaled_mae"]["rho"]
    said = "" if rho is None else f" (Spearman's ρ {number(rho)})"
    _title(axes, "", f"Median rescaled MAE{said}")
    _axes(axes, f"orange: {names[0]}, green: {names[1]}", "", grid="x")
    axes.set_yticks(range(len(shown)), shown, size=8.5, color=INK)
    axes.set_ylim(-0.7, max(len(shown), 1) - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def _title(axes, letter, text):
    axes.set_title(f"{letter}   {text}".strip(), size=11, color=INK, loc="left", pad=8)


def _axes(axes, x, y, grid="both"):
    axes.set_xlabel(x, size=9, color=INK)
    axes.set_ylabel(y, size=9, color=INK)
    axes.tick_params(labelsize=8, color=LINE, labelcolor=INK)
    axes.grid(axis=grid, color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)


def _families(axes, beside, families, own):
    """Median and quartiles of the rescaled MAE, and the share of genes that beat the null."""
    order = sorted(families, key=lambda n: families[n]["rescaled_mae"], reverse=True)
    y = np.arange(len(order))
    for at, family in zip(y, order, strict=True):
        row = families[family]
        low, high = row["quartiles"]
        axes.plot([low, high], [at, at], color=GENE, lw=3, solid_capstyle="round", zorder=1)
        axes.scatter(row["rescaled_mae"], at, s=30, color=BLUE, lw=0, zorder=2)
        share = 100 * row["beats_null"]
        beside.barh(at, share, height=0.55, color=BLUE)
        beside.text(share + 2, at, f"{share:.0f}", size=8, color=FAINT, va="center")
    _title(axes, "A", "Median rescaled MAE (bar: quartiles)")
    _axes(axes, "rescaled MAE; predicting 0 gives 1", "", grid="x")
    texts = [f"{n}  {families[n]['genes']}" for n in order]
    axes.set_yticks(y, texts, size=8.5, color=INK)
    axes.set_xlim(0, max(1.05, axes.get_xlim()[1]))
    beside.set_title("beats the null", size=9.5, color=INK, loc="left", pad=8)
    _axes(beside, "% of genes", "", grid="x")
    beside.set(xlim=(0, 125), xticks=[0, 50, 100], yticks=[])
    for one in (axes, beside):
        one.set_ylim(-0.7, len(order) - 0.3)
        one.tick_params(axis="y", length=0)
        one.spines["left"].set_visible(False)
    axes.axvline(1, color=OTHER, lw=0.9, ls=":")


def _curves(axes, curves):
    """Families over epochs; in colour those whose error changes most from first to last."""
    shown = {f: y for f, y in curves["medians"].items() if curves["genes"][f] >= ENOUGH}
    shown = shown or curves["medians"]
    change = sorted(shown, key=lambda f: shown[f][-1] / shown[f][0])
    coloured = sorted(change[:CURVES], key=lambda f: -shown[f][-1])
    x = np.arange(1, len(curves["epochs"]) + 1)
    for family, y in shown.items():
        if family not in coloured:
            axes.plot(x, y, color=GENE, lw=1, zorder=1)
    lines = {}
    for i, family in enumerate(coloured):
        lines[family] = PALETTE[i]
        axes.plot(x, shown[family], "o-", color=PALETTE[i], ms=3.5, lw=1.7, zorder=2)
    _title(axes, "B", "Families over training (coloured: fall most)")
    _axes(axes, "checkpoint of --epochs", "median rescaled MAE", grid="y")
    axes.set_xticks(x if len(x) <= 12 else x[:: -(-len(x) // 12)])
    axes.margins(x=0.03)
    low, high = axes.get_ylim()
    room = (high - low) / 14
    ends = spread([shown[f][-1] for f in coloured], room, low + room / 2)
    step = x[-1] - x[0] or 1
    axes.set_xlim(right=x[-1] + 0.5 * step)
    for family, at in zip(coloured, ends, strict=True):
        line = dict(arrowstyle="-", lw=0.6, color=lines[family], relpos=(0, 0.5), shrinkA=1)
        axes.annotate(family, (x[-1], shown[family][-1]), (x[-1] + 0.07 * step, at), size=8,
                      color=lines[family], va="center", arrowprops=line)  # fmt: skip


def _detection(axes, families):
    """How much against whether: a dot for each family."""
    shown = {n: row for n, row in families.items() if row["auc"] is not None}
    x = [row["rescaled_mae"] for row in shown.values()]
    y = [row["auc"] for row in shown.values()]
    _title(axes, "B", "Detection against quantification (no tables of epochs given)")
    _axes(axes, "median rescaled MAE", "median detection AUC")
    if shown:
        axes.scatter(x, y, s=26, color=BLUE, lw=0)
        axes.margins(0.12)
        name_points(axes, x, y, list(shown))


def _trend(axes, own):
    """Every reliable gene, the isotonic trend, winners and losers."""
    x, y = own["zero_fraction"].to_numpy(), own["rescaled_mae"].to_numpy()
    verdict = own["verdict"].to_numpy(str)
    axes.axvspan(min(x.min(), SPARSE), SPARSE, color="#F5F5F5", zorder=0, lw=0)
    parts = (("", GENE, "genes"), ("winner", WINNER, "winners"), ("loser", LOSER, "losers"))
    for value, colour, text in parts:
        mask = verdict == value
        axes.scatter(
            x[mask], y[mask], s=5 if value == "" else 11, lw=0, color=colour, rasterized=True,
            label=f"{mask.sum()} {text}", zorder=1 if value == "" else 3,
        )  # fmt: skip
    order = np.argsort(x, kind="stable")
    axes.plot(x[order], own["trend"].to_numpy(float)[order], color=INK, lw=1.4, zorder=4,
              label="isotonic trend")  # fmt: skip
    _title(axes, "C", f"Error against sparsity (shaded: zero fraction up to {SPARSE:g})")
    _axes(axes, "zero fraction", "rescaled MAE")
    look = dict(frameon=False, fontsize=8, labelcolor=INK, handletextpad=0.3)
    axes.legend(loc="lower right", ncols=2, **look)
    top = max(np.quantile(y, 0.999), own["trend"].max()) * 1.12
    axes.set_ylim(0, top)  # a few genes may be far above; they stay in genes.tsv
    z, taken = np.abs(own["z"].to_numpy(float)), ()
    for value, colour, _ in parts[1:]:
        mask = np.flatnonzero((verdict == value) & (y < top))
        named = mask[np.argsort(-z[mask], kind="stable")][:NAMED]
        texts = own["gene"].to_numpy()[named]
        taken = name_points(axes, x[named], y[named], texts, colour, (x, y), taken)


def _odds(axes, groups):
    """Odds ratio of being a winner, per program, or per family without programs."""
    axis = "program" if "program" in groups else "family"
    tables = groups[axis]
    names = [n for n in tables["all"] if n != REFERENCE[axis]]
    if axis == "family":
        some = [n for n in names if tables["all"][n]["genes"] >= ENOUGH]
        names = sorted(some, key=lambda n: -tables["all"][n]["winner_rate"])[:NAMED]
    else:
        names = [n for n in PROGRAMS if n in names] + [n for n in names if n not in PROGRAMS]
    names = names[::-1]
    for part, shift, fill in (("sparse", 0.16, BLUE), ("all", -0.16, "white")):
        for i, name in enumerate(names):
            row = tables[part].get(name)
            if row is None or row["odds"] is None:
                continue
            odds, at = row["odds"], i + shift
            axes.plot([odds["low"], odds["high"]], [at, at], color=BLUE, lw=1.5, zorder=1)
            axes.scatter(odds["ratio"], at, s=34, color=fill, edgecolor=BLUE, lw=1.3, zorder=2)
            said = f"{100 * row['winner_rate']:.1f} % of {row['genes']}, q {p_text(odds['q'])}"
            axes.text(
                1.02, at, said, size=8, color=INK if odds["q"] <= 0.05 else FAINT, va="center",
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
    where = axes.get_position()
    axes.set_position([where.x0 + 0.035, where.y0, where.width * 0.58, where.height])
    _title(
        axes, "D", f"Winners' odds by {axis} (full: zero fraction above {SPARSE:g}; hollow: all)"
    )
    _axes(axes, f"odds ratio against {REFERENCE[axis]}, 95 %", "", grid="x")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=OTHER, lw=0.9, ls=":", zorder=0)
    axes.set_yticks(range(len(names)), [n.replace("_", "\n") for n in names], size=8.5, color=INK)
    axes.set_ylim(-0.6, max(len(names), 1) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def p_text(p):
    """A p-value as text: .034, 2e-07, below the smallest number < 1e-300."""
    if p is None:
        return "–"
    if p < 1e-300:
        return "< 1e-300"
    return number(p) if p >= 0.001 else f"{p:.0e}"
