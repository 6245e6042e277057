"""What is found of cells goes into their AnnData, or into a copy of their file.

The checks before anything is computed stand here too: what could not be written after it.
"""

import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse

from jaxcell.writing import check_free, check_room, hdf5_file, new_file

PREDICTIONS = "predictions"  # beside the keys in uns['jaxcell']: who wrote the outputs of each head


@dataclass
class Found:
    """What is written, and what an earlier run may have left that would contradict it.

    key, provenance : ``uns['jaxcell'][key]``
    arrays, obs : {'obsm' | 'layers' | 'varm': {name: array}}, {column: array}
    stale : {'obs' | 'obsm' | 'layers': names}; of these go those that are not written now
    predictions : {head: {'key', 'checkpoint_hash'}}, whose its outputs are from now on
    """

    key: str
    arrays: dict
    obs: dict
    provenance: dict
    stale: dict = field(default_factory=dict)
    predictions: dict = field(default_factory=dict)

    def left(self, group):
        """Names of ``stale`` in a group that are not written now."""
        written = self.obs if group == "obs" else self.arrays.get(group, {})
        return [name for name in self.stale.get(group, ()) if name not in written]

    def records(self, known):
        """``uns['jaxcell']``, as it was and as it is now."""
        now = {**known, self.key: self.provenance}
        if self.predictions:
            now[PREDICTIONS] = {**known.get(PREDICTIONS, {}), **self.predictions}
        return now


def check_call(adata, out, key, batch_size, seed):
    """Refuse before anything is computed what could not be written or drawn after it."""
    if key is not None and (not key or "/" in key):
        raise ValueError(f"key: found {key!r}, expected a name without '/', which h5ad files split")
    if key == PREDICTIONS:
        raise ValueError(
            f"key: found {key!r}, which uns['jaxcell'] has for whose predictions are; name another"
        )
    check_out(out)
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, expected a number of cells above 0")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: found {seed}, expected 0 or more, below 2**32")
    if adata is not None and adata.isbacked and adata.is_view:
        raise ValueError("a view of a backed AnnData cannot be written to: pass view.to_memory()")


def check_out(out):
    """Refuse an h5ad to write that exists, has no folder or another ending; None: none is."""
    if out is not None:
        check_free(out, "a file", ".h5ad")


def save(adata, out):
    """Write a new AnnData beside ``out`` and rename, or with None return it itself."""
    if out is None:
        return adata
    out = Path(out)
    with new_file(out) as partial:
        _write_new(adata, partial)
    return out


def _write_new(adata, path):
    """What ``adata.write_h5ad`` writes, see `hdf5_file`."""
    adata.strings_to_categoricals()
    with hdf5_file(path, "w") as file:
        anndata.io.write_elem(file, "/", adata)


def check_copy(data, out):
    """Refuse an output on a disk that has no room for a copy of the file ``data``."""
    in_file = not isinstance(data, anndata.AnnData) and not str(data).startswith("scanpy:")
    if out is not None and in_file:
        check_room(out, os.path.getsize(data))


def check_records(data, name):
    """Refuse an AnnData or a file with an uns['jaxcell'] that nothing can be added to."""
    if isinstance(data, anndata.AnnData):
        known = data.uns.get("jaxcell", {})
    elif str(data).startswith("scanpy:"):
        return
    else:
        with h5py.File(data, "r") as file:
            known = file.get("uns/jaxcell")
            known = {} if known is None else anndata.io.read_elem(known)
    if not isinstance(known, Mapping) or not isinstance(known.get(PREDICTIONS, {}), Mapping):
        raise ValueError(
            f"{name}: uns['jaxcell'] is not a dict of ours (a {type(known).__name__}); remove it "
            "first"
        )


def check_match(found, source, min_matched):
    """Raise ValueError where a file has too few of a model's genes, warn where it has few."""
    n, of = found.n_matched, found.n_genes
    if not 0 <= min_matched <= 1:
        raise ValueError(f"min_matched: found {min_matched}, expected a share from 0 to 1")
    if n < min_matched * of:
        raise ValueError(
            f"{source.name}: only {n} of the model's {of} genes were found, fewer than "
            f"min_matched = {min_matched:.0%}. {found.report()} Is it another species, or another "
            "kind of names? A gene map translates (--gene-map); --min-matched takes fewer"
        )
    if n < 0.5 * of:
        warnings.warn(
            f"{source.name}: {n} of the model's {of} genes were found; with under half of them "
            f"embeddings may be poor. {found.report()}",
            stacklevel=3,
        )


def without(values, cells):
    """The same [B, …] where these cells, bool [B], have none: NaN, or None instead of a name."""
    values = values.copy()
    values[cells] = None if values.dtype == object else np.nan
    return values


def _say(names, there, what, becomes="replaced"):
    """Those of the names that are there, each warned of."""
    found = [name for name in names if name in there]
    for name in found:
        warnings.warn(f"{what}[{name!r}] was there and is {becomes}", stacklevel=5)
    return found


def _say_removed(found, there, group):
    return _say(found.left(group), there, group, "removed: it is of an earlier run")


def keep(data, out, source, found):
    """Put what was found into an AnnData, in place, or into a copy of its file; either returned."""
    if isinstance(data, anndata.AnnData):
        _add(data, found)
        return data
    _write(data, Path(out), source, found)
    return Path(out)


def _add(adata, found):
    for group, arrays in found.arrays.items():
        there = getattr(adata, group)
        _say(arrays, there, group)
        for name, array in arrays.items():
            there[name] = array
    _say(found.obs, adata.obs, "obs")
    for name, column in found.obs.items():
        adata.obs[name] = _categories(column)
    for group in found.stale:
        there = getattr(adata, group)
        for name in _say_removed(found, there, group):
            del there[name]
    adata.uns["jaxcell"] = found.records(adata.uns.get("jaxcell", {}))


def _categories(column):
    return pd.Categorical(column) if column.dtype == object else column


def _write(data, out, source, found):
    """Write beside ``out`` and rename, so that nothing half-written bears its name."""
    with new_file(out) as partial:
        if str(data).startswith("scanpy:"):
            counts = scipy.sparse.vstack(list(source.chunks()), format="csr")
            adata = anndata.AnnData(counts, obs=source.obs, var=source.var)
            _add(adata, found)
            _write_new(adata, partial)
        else:
            # Copy the file and add to it: everything in it stays, and X is never loaded.
            shutil.copyfile(data, partial)
            os.chmod(partial, 0o644)
            with hdf5_file(partial, "r+") as file:
                _add_to_file(file, found)


def _add_to_file(file, found):
    write = anndata.io.write_elem
    for group in (*found.arrays, "uns"):  # absent in files of some other tools
        if group not in file:
            write(file, group, {})
    for group, arrays in found.arrays.items():
        _say(arrays, file[group], group)
        for name, array in arrays.items():
            write(file[group], name, array)
        for name in _say_removed(found, file[group], group):
            del file[group][name]
    if found.obs:
        obs = anndata.io.read_elem(file["obs"])
        _say(found.obs, obs, "obs")
        obs = obs.drop(columns=_say_removed(found, obs, "obs"))
        write(file, "obs", obs.assign(**{k: _categories(v) for k, v in found.obs.items()}))
    known = file["uns"].get("jaxcell")
    known = {} if known is None else anndata.io.read_elem(known)
    write(file["uns"], "jaxcell", found.records(known))
