"""Scores with their intervals: methods from top to bottom, a panel for each score."""

from jaxcell.drawing import told_apart
from jaxcell.palette import BLUE, FAINT, GRID, INK


def score_figure(path, rows, scores):
    """Mean, interval and single seeds of each row.

    Parameters
    ----------
    path : path
        The picture to write.
    rows : list of dict
        'name', 'kind' ('model' in colour, else grey) and of each score (mean, sd), SCORE_ends
        (low, high) and SCORE_values.
    scores : dict
        {score: title of its panel}.
    """
    from matplotlib.figure import Figure

    names, height = told_apart([row["name"] for row in rows], 60), 0.27 * len(rows) + 0.75
    figure = Figure((3.1 + 3.0 * len(scores), height), dpi=140, facecolor="white")
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, (score, title) in zip(panels, scores.items(), strict=True):
        for y, row in enumerate(rows):
            colour = BLUE if row["kind"] == "model" else FAINT
            axes.plot(row[f"{score}_ends"], [y, y], color=colour, lw=1.6, solid_capstyle="butt")
            axes.scatter(row[score][0], y, s=30, color=colour, lw=0, zorder=3)
            values = row[f"{score}_values"]
            axes.scatter(values, [y] * len(values), s=7, color=INK, lw=0, alpha=0.6, zorder=4)
        axes.set_title(title, size=9.5, color=INK, loc="left", pad=4)
        axes.set_yticks(range(len(rows)), names, size=8.5, color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
        axes.spines[:].set_visible(False)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
