"""Curation of a training set: the cells of perturbations that a model tells from chance.

Source: TxFM, C.2, item 3 (after Kenyon-Dean et al. 2025): cells are embedded by an earlier model,
and controls and the cells of consistent perturbations are kept. n cells, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from jaxcell.data.types import Cells, StrPath
from jaxcell.embedding import embed
from jaxcell.evaluation.consistency import FEWEST_CELLS, NULL_CELLS, perturbation_consistency
from jaxcell.evaluation.inputs import read
from jaxcell.evaluation.perturbed_cells import cells
from jaxcell.evaluation.tables import number
from jaxcell.results import check_out, save

COLUMN = "phenoprint_p"
CUT = 0.3  # the paper's text has lost its number, and calls it permissive
SHOWN = 15  # perturbations of the table, the most and the least consistent


def phenoprint(
    data: Cells,
    checkpoint: StrPath,
    *,
    perturbation: str,
    control: str,
    batch: str | Sequence[str],
    out: StrPath | None = None,
    cut: float = CUT,
    null_cells: int = NULL_CELLS,
    fewest: int = FEWEST_CELLS,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> anndata.AnnData | Path:
    """Keep controls and the cells of perturbations that are consistent: ``jaxcell.phenoprint``.

    A perturbation is kept where its empirical p (`perturbation_consistency` of the checkpoint's
    vectors) is below the cut. Cells whose perturbation or batch is unknown are left out, and those
    of perturbations with too few cells to be scored. Says in a table what is kept.

    Parameters
    ----------
    data : AnnData (not changed) or path of an h5ad file, raw counts
    checkpoint : as in `jaxcell.embed`
    perturbation : obs column; control : its value of unperturbed cells
    batch : obs column, or several that are a cell's batch together
    out : h5ad to write, must not exist; None: the AnnData is returned
    cut : p below which a perturbation is kept, in (0, 1]
    null_cells, fewest, seed : as in `perturbation_consistency`; the seed also draws genes
    progress : show a bar and the table
    options : of `jaxcell.embed`: counts, batch_size, identifiers, gene_map, …

    Returns
    -------
    AnnData or Path
        The kept cells with obs['phenoprint_p'] (NaN of controls), and
        uns['phenoprint'] {'perturbations', 'kept' and 'cells' of it, 'cut', 'checkpoint'}.

    Raises
    ------
    ValueError, FileNotFoundError
        About the input, before anything is computed; no perturbation has enough cells, or none a p
        below the cut: nothing is written.
    """
    check_out(out)
    if not 0 < cut <= 1:
        raise ValueError(f"cut: found {cut}, expected a p above 0, to 1")
    adata, columns = read(data), (batch,) if isinstance(batch, str) else tuple(batch)
    where = "data" if adata is data else str(data)
    found = cells.find(adata, perturbation, control, columns, where)
    known = adata[found.keep].copy()
    copy = known.copy()
    copy.uns.pop("jaxcell", None)
    embed(copy, checkpoint, key="X_phenoprint", seed=seed, progress=progress, **options)
    scored = perturbation_consistency(
        copy.obsm["X_phenoprint"],
        found.perturbation,
        found.joined(columns),
        control=control,
        cut=cut,
        null_cells=null_cells,
        fewest=fewest,
        seed=seed,
    )
    p = {name: one["p"] for name, one in scored["perturbations"].items()}
    own = np.array([p.get(name, np.nan) for name in found.perturbation])
    keep = (found.perturbation == control) | (own < cut)
    if not (own < cut).any():
        least = min(p.values())
        raise ValueError(
            f"{where}: found none of {scored['scored']} perturbations with p < {cut:g}, expected "
            f"one at least: the least p is {least:g}, of {sum(q == least for q in p.values())}; a "
            "cut (--cut) above it keeps some"
        )
    kept = known[keep].copy()
    kept.obs[COLUMN] = own[keep]
    kept.uns["phenoprint"] = {
        "perturbations": scored["scored"],
        "too_few_cells": scored["left_out"],
        "kept": scored["consistent"],
        "cells": int(keep.sum()),
        "cut": float(cut),
        "checkpoint": copy.uns["jaxcell"]["X_phenoprint"]["checkpoint_hash"],
    }
    if progress:
        print(table(scored, kept.uns["phenoprint"], adata.n_obs))
    return save(kept, out)


def table(scored, found, cells_before):
    """What is kept, as text: perturbations by p, the most and the least consistent of many."""
    ranked = sorted(scored["perturbations"].items(), key=lambda item: item[1]["p"])
    rows = ranked if len(ranked) <= 2 * SHOWN else [*ranked[:SHOWN], None, *ranked[-SHOWN:]]
    width = max(len(name) for name, _ in ranked)
    lines = [f"{'perturbation':{max(width, 12)}}  {'cells':>7}  {'similarity':>10}  {'p':>6}"]
    for row in rows:
        if row is None:
            lines.append("…")
            continue
        name, one = row
        mark = "" if one["p"] < found["cut"] else "  left out"
        lines.append(
            f"{name:{max(width, 12)}}  {one['cells']:7}  {number(one['similarity']):>10}  "
            f"{number(one['p']):>6}{mark}"
        )
    few = found["too_few_cells"]
    lines.append(
        f"kept {found['kept']} of {found['perturbations']} perturbations (p < {found['cut']:g}"
        + (f"; {few} more have too few cells" if few else "")
        + f"), {found['cells']} of {cells_before} cells"
    )
    return "\n".join(lines)
