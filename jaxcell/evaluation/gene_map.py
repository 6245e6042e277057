"""Gene vectors as a map, with the markers of cell types in it (scFormer, figure 2c). V genes."""

import numpy as np

from jaxcell.drawing import titled, told_apart
from jaxcell.palette import INK, LINE, OTHER, PALETTE

from .clustering import Space
from .names_in_figures import name_points
from .relations import centred

MAP, LEGEND = 6.2, 2.6  # inches


def directions(vectors, name="vectors"):
    """Centred gene vectors of length 1, so that neighbours are those by cosine: float32 [V, D]."""
    x = centred(vectors, name)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(length > 0, length, 1.0)).astype(np.float32)


def layout(vectors, seed=0, name="vectors"):
    """UMAP of gene vectors by cosine of the centred ones, 15 neighbours: float [V, 2]."""
    return Space(directions(vectors, name)).layout(seed)


def agreement(vectors, groups, name="vectors"):
    """How often the marker most similar to a marker is one of the same type.

    Parameters
    ----------
    vectors : [V, D]
    groups : str [V], the type whose marker a gene is, '' for none
    name : of the vectors, for errors

    Returns
    -------
    (float, float)
        The share of markers, by cosine of the vectors centred over all genes; and what it would be
        if the most similar marker were any other one: Σ m (m − 1) / (M (M − 1)), for m markers of a
        type and M in all.

    Raises
    ------
    ValueError
        Fewer than two markers.
    """
    marked = np.flatnonzero(groups != "")
    if len(marked) < 2:
        raise ValueError(f"{name}: found {len(marked)} markers among its genes, expected 2 or more")
    own, unit = groups[marked], directions(vectors, name)[marked]
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    sizes = np.unique(own, return_counts=True)[1]
    chance = (sizes * (sizes - 1)).sum() / (len(own) * (len(own) - 1))
    return float((own[cosines.argmax(axis=1)] == own).mean()), float(chance)


def marker_figure(path, title, places, markers, *, caption=""):
    """The map of all genes in grey, the markers in their type's colour and by name.

    Parameters
    ----------
    path : path
        The picture to write.
    title : str
    places : [V, 2]
    markers : {type: [(index of the gene, its name), …]}
    caption : str
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    places = np.asarray(places)
    width, height = MAP + LEGEND, MAP + 0.8
    figure = Figure((width, height), dpi=140, facecolor="white")
    titled(figure, title, caption)
    axes = figure.add_axes([0.2 / width, 0.15 / height, (MAP - 0.2) / width, MAP / height - 0.02])
    axes.scatter(*places.T, s=float(np.clip(12_000 / len(places), 1.5, 12)), c=OTHER, lw=0)
    handles, named = [], []
    kinds = zip(told_apart(markers, 26), markers.values(), strict=True)
    for i, (kind, genes) in enumerate(kinds):
        colour = PALETTE[i % len(PALETTE)]
        rows = [row for row, _ in genes]
        axes.scatter(*places[rows].T, s=26, c=colour, edgecolor="white", lw=0.5, zorder=3)
        label = f"{kind} ({len(genes)})"
        handles.append(Line2D([], [], marker="o", ls="", ms=7, mew=0, color=colour, label=label))
        named += genes
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(LINE)
    axes.margins(0.05)
    axes.legend(
        handles=handles, title="markers of", loc="upper left", bbox_to_anchor=(1.0, 1.0),
        frameon=False, fontsize=8.5, title_fontsize=8.5, labelcolor=INK, alignment="left",
    )  # fmt: skip
    rows, names = zip(*named, strict=True)
    name_points(axes, *places[list(rows)].T, names, INK)
    figure.savefig(path, metadata={"Software": None})
