"""Names in a picture that do not cover each other."""

import numpy as np

from jaxcell.palette import FAINT

WIDE, HIGH = 4.3, 9.5  # points of a letter of size 7, of a line
REACHES = (7, 15, 26, 40, 60)  # points from a point to its name
NEAR = 2.5  # points around one that a name should not cover


def spread(values, least, low):
    """Falling values moved apart to ``least`` from one to the next, not below ``low``.

    The places nearest to the values by squares: isotonic regression of what is left of them.
    """
    from sklearn.isotonic import IsotonicRegression

    steps = least * np.arange(len(values))
    fit = IsotonicRegression(increasing=False).fit_transform(steps, np.add(values, steps))
    return np.maximum(fit - steps, low + steps[::-1])


def name_points(axes, x, y, texts, colour=FAINT, avoid=None, taken=()):
    """Put each text beside its point, where it covers no other name and fewest points.

    Limits and place of the axes must not change after this. A text without room is left out.

    Parameters
    ----------
    x, y [n] : places of the points; texts : n str
    avoid : (x [m], y [m]) of all points drawn; None: those that are named
    taken : boxes (left, bottom, right, top) in pixels to keep free

    Returns
    -------
    list of the boxes taken now
    """
    from matplotlib.patheffects import withStroke

    taken = list(taken)
    if not len(texts):
        return taken
    axes.get_xlim(), axes.get_ylim()  # settle what autoscale has put off
    scale, box = axes.figure.dpi / 72, axes.get_window_extent()
    points = axes.transData.transform(np.column_stack([x, y]))
    drawn = points if avoid is None else axes.transData.transform(np.column_stack(avoid))
    for point, text in zip(points, texts, strict=True):
        size = np.array([WIDE * len(text), HIGH]) * scale
        spot = _room(point, size, scale, box, drawn, taken)
        if spot is None:
            continue
        taken.append(spot)
        axes.annotate(
            text, point, ((spot[0] + spot[2]) / 2, (spot[1] + spot[3]) / 2),
            xycoords="figure pixels", textcoords="figure pixels", size=7, color=colour,
            ha="center", va="center", zorder=5,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
            arrowprops=dict(arrowstyle="-", lw=0.5, color=colour, shrinkA=0, shrinkB=2),
        )  # fmt: skip
    return taken


def _room(point, size, scale, box, drawn, taken):
    """The free box around a point that covers fewest points, of these the nearest; or None."""
    best = None
    for reach in REACHES:
        for angle in np.deg2rad(np.arange(0, 360, 30)):
            step = reach * scale * np.array([np.cos(angle), np.sin(angle)])
            # The side of the box that looks at the point is where the step ends.
            middle = point + step + np.round(np.cos(angle)) * np.array([size[0] / 2, 0])
            low, high = middle - size / 2, middle + size / 2
            inside = low[0] > box.x0 and high[0] < box.x1 and low[1] > box.y0 and high[1] < box.y1
            if not inside or any(_meet((*low, *high), other) for other in taken):
                continue
            near = NEAR * scale
            covered = int(((drawn > low - near) & (drawn < high + near)).all(axis=1).sum())
            if best is None or covered < best[0]:
                best = (covered, tuple(map(float, (*low, *high))))
        if best is not None and best[0] == 0:
            break
    return best and best[1]


def _meet(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
