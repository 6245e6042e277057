"""Which pictures a report has, and what they are called."""

import re

from jaxcell.palette import colours

from . import figures
from .protocols import PROTOCOLS
from .study_figures import study_figure
from .tables import number

SHOWN = [("NMI", "nmi"), ("ARI", "ari"), ("ASW label", "asw_label"), ("iLISI", "ilisi")]
MAPPED = [("NMI", "nmi"), ("ARI", "ari"), ("silhouette", "silhouette"), ("GC", "gc")]


def draw(out, measured, compared, cells, results):
    """Write the pictures; their names are noted in results: {what: name}.

    In ``meta['figures']``, and for a protocol with a map in its own ``figures``.

    Parameters
    ----------
    out : pathlib.Path
    measured : dict
        {method's name: Measured}.
    compared : list of Method
    cells : Cells
    results : dict
        As in results.json.
    """
    files = {"comparison": "comparison.png"}
    figures.comparison_figure(out / files["comparison"], results)
    shown = [method for method in compared if method.picture]
    for method in shown:
        files[method.name] = _free(f"umap_{_stem(method.name)}", files)
        _umap(out / files[method.name], method, measured[method.name].layout, cells, results)
    results["meta"]["figures"] = files
    for paper, block in results.get("protocols", {}).items():
        own = block["figures"] = {}
        if PROTOCOLS[paper].layout is None or cells.batch is None:
            continue
        for method in shown:
            own[method.name] = _free(f"{paper}_{_stem(method.name)}", own)
            layout = measured[method.name].maps[paper]
            _by_study(out / own[method.name], paper, method, layout, cells, results)


def _stem(name):
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _free(stem, files):
    while f"{stem}.png" in files.values():
        stem += "_"
    return f"{stem}.png"


def _umap(path, method, layout, cells, results):
    meta, view = results["meta"], results["views"][method.name][0]
    panels = [(meta["label"], cells.labels, colours(cells.labels), True)]
    if cells.batch is not None:
        panels.append((meta["batch"], cells.batch, colours(cells.batch), False))
    caption = _caption(method, view, SHOWN)
    figures.umap_figure(path, method.name, layout, panels, caption=caption, seed=meta["seed"])


def _by_study(path, paper, method, layout, cells, results):
    meta, view = results["meta"], results["protocols"][paper]["views"][method.name][0]
    caption = f"{paper}:   " + _caption(method, view, MAPPED)
    titles = meta["label"], meta["batch"]
    study_figure(
        path, method.name, layout, cells.labels, cells.batch, titles,
        caption=caption, seed=meta["seed"],
    )  # fmt: skip


def _caption(method, view, shown):
    caption = "   ".join(f"{t} {number(view[m])}" for t, m in shown if view[m] is not None)
    if method.per_fold:
        caption = f"the matrix of the fold that holds out {view['held_out']}   {caption}"
    return caption
