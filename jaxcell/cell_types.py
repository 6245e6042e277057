"""``jaxcell annotation``: cell types that ``embed`` wrote into a file, against the true ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from jaxcell.data.ontology_reading import read_ontology
from jaxcell.data.sources import hdf5
from jaxcell.data.types import Cells, StrPath
from jaxcell.evaluation.annotation_report import annotation_report
from jaxcell.results import PREDICTIONS
from jaxcell.systems.bmfm_rna import sigmoids_of
from jaxcell.training.checkpoint import load_model


def annotation(
    data: Cells,
    checkpoint: StrPath,
    *,
    truth: str,
    out: StrPath,
    head: str = "cell_type",
    cells: str = "",
    ontology: StrPath = "",
    levels: Mapping[str, int | Sequence[str]] | None = None,
    group: str | None = None,
    leave_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure predicted cell types by their places in the ontology; see ``annotation_report``.

    Parameters
    ----------
    data : AnnData or h5ad that ``jaxcell.embed`` has annotated; with ``probabilities=True`` all
        decodings are compared (of a model trained with independent sigmoids the most probable leaf,
        which is all that they say), else what it wrote into ``obs['<head>_pred_id']``
    checkpoint : the model that did: workdir or model folder, for its ontology
    truth : obs column of true labels, ids or names
    out : folder of the report
    head : name of the label head
    cells : 'column=value', the cells to look at; '' is all
    ontology : OBO file or 'cellxgene' to compare in, where the truth has terms that the model's
        ontology lacks, or the model has none (``obs['<head>_pred']`` is compared then)
    levels : {name: depth, or ids or names of terms}
    group : true label whose cells' probabilities are drawn
    leave_out : true labels that are not to be scored

    Returns
    -------
    dict, as in annotation.json

    Raises
    ------
    ValueError
        No such head, no ontology, no prediction in the data, or no such cells.
    """
    if not isinstance(data, anndata.AnnData):
        with hdf5.opened(Path(data), "an h5ad"):  # refuses what is no such file, with a reason
            pass
    adata = data if isinstance(data, anndata.AnnData) else anndata.read_h5ad(data, backed="r")
    model = load_model(checkpoint)
    own, sigmoids = _ontology_of(model, checkpoint, head)
    leaves, column = f"{head}_leaves", f"{head}_pred_id"
    if own is None:  # of a flat head: its classes are looked up by their names
        if not ontology:
            raise ValueError(
                f"{checkpoint}: its head {head!r} has no ontology; name one to compare in "
                "(--ontology)"
            )
        own, column = read_ontology(ontology), f"{head}_pred"
    keep = _cells(adata, cells)
    has_leaves = leaves in adata.obsm
    if not has_leaves and column not in adata.obs:
        raise ValueError(
            f"neither obsm[{leaves!r}] nor obs[{column!r}]: annotate the file first, with jaxcell "
            "embed --probabilities"
        )
    _check_written(adata, model, checkpoint, head, own if has_leaves else None)
    return annotation_report(
        adata.obs[keep],
        truth=truth,
        ontology=own,
        out=out,
        predicted=None if has_leaves else column,
        leaf_probabilities=np.asarray(adata.obsm[leaves])[keep] if has_leaves else None,
        sigmoids=sigmoids,
        compare_in=read_ontology(ontology) if ontology else None,
        levels=levels,
        group=group,
        leave_out=leave_out,
    )


def _check_written(adata, model, checkpoint, head, ontology):
    """Refuse predictions of another checkpoint, and leaves that are not this ontology's."""
    records = adata.uns.get("jaxcell", {})
    said = records.get(PREDICTIONS, {}).get(head) if isinstance(records, Mapping) else None
    again = f"embed the cells with {checkpoint} again, or name the checkpoint that predicted"
    if said is None:
        raise ValueError(
            f"uns['jaxcell'][{PREDICTIONS!r}] does not say which model predicted {head}; {again}"
        )
    record = records.get(said["key"], {})
    if said["checkpoint_hash"] != model.sha256:
        raise ValueError(
            f"{head}: found predictions of another model than {checkpoint} (embedded as "
            f"{said['key']!r}, by {record.get('checkpoint', 'an unknown checkpoint')}); {again}"
        )
    if ontology is not None:
        expected = [ontology.ids[i] for i in ontology.leaves]
        if list(record.get(f"{head}_leaves", ())) != expected:
            raise ValueError(
                f"obsm['{head}_leaves']: uns['jaxcell'][{said['key']!r}] does not say that these "
                f"are the {len(expected)} leaves of {checkpoint}; {again}"
            )


def _ontology_of(model, checkpoint, head):
    """The ontology of a model's label head, or None; whether its classes have sigmoids."""
    labels = {name: h.label for name, h in model.config.model.heads.items() if "label" in h}
    if head not in labels:
        raise ValueError(
            f"{checkpoint}: has no label head {head!r}; it has {', '.join(labels) or 'none'}"
        )
    return model.ontologies.get(labels[head]), sigmoids_of(model.config, head)


def _cells(adata, cells):
    """Which cells 'column=value' names, bool [cells]."""
    if not cells:
        return np.ones(adata.n_obs, bool)
    column, _, value = cells.partition("=")
    if column not in adata.obs:
        raise ValueError(f"cells: obs has no column {column!r}; it has {', '.join(adata.obs)}")
    keep = (adata.obs[column].astype(str) == value).to_numpy()
    if not keep.any():
        known = sorted(adata.obs[column].astype(str).unique())
        raise ValueError(f"cells: no cell has {cells}; {column} has {', '.join(known[:20])}")
    return keep
