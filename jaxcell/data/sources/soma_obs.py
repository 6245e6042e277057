"""The obs of a SOMA experiment, a column at a time: of an atlas all of them would be many GB."""

from collections import OrderedDict

import numpy as np
import pandas as pd

KEPT = 8  # columns in memory at once; each takes 1 to 8 bytes a cell


class SomaObs:
    """What a DataFrame of obs gives by columns: each is read when it is asked for.

    Alike are ``in``, ``[name]``, ``del``, ``len`` (cells), iteration, ``columns``, ``index`` and
    ``copy(deep=False)``. All else is that of a DataFrame with all columns, which is made for it.
    Columns that were put there stay in memory; of the experiment's own the last 8 that were read.

    Parameters
    ----------
    read : callable
        Name of a column of the experiment → its values, pandas.Series [cells] numbered from 0.
    names : list of str
        Columns of the experiment.
    n_cells : int
    name_cells : callable
        () → names of the cells, pandas.Index [cells].
    """

    def __init__(self, read, names, n_cells, name_cells):
        self._read, self._name_cells = read, name_cells
        self._names, self._n_cells = list(names), n_cells
        self._put, self._recent = {}, OrderedDict()

    def __len__(self):
        return self._n_cells

    def __iter__(self):
        return iter(self._names)

    def __contains__(self, name):
        return name in self._names

    def __getitem__(self, name):
        if not isinstance(name, str):  # rows, or several columns
            return self._frame()[name]
        if name not in self._names:
            raise KeyError(name)
        if name in self._put:
            return self._put[name]
        if name not in self._recent:
            self._recent[name] = self._read(name)
        self._recent.move_to_end(name)
        if len(self._recent) > KEPT:
            self._recent.popitem(last=False)
        return self._recent[name]

    def __setitem__(self, name, values):
        if name not in self._names:
            self._names.append(name)
        self._put[name] = values

    def __delitem__(self, name):
        self._names.remove(name)
        self._put.pop(name, None)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._frame(), name)

    @property
    def columns(self):
        """Names of the columns."""
        return pd.Index(self._names)

    @property
    def index(self):
        """Names of the cells; read each time, unless they are numbers."""
        return self._name_cells()

    def copy(self, deep=True):
        """A table with columns of its own; a deep one is a DataFrame of all columns."""
        if deep:
            return self._frame()
        other = SomaObs(self._read, self._names, self._n_cells, self._name_cells)
        other._put, other._recent = dict(self._put), self._recent
        return other

    def _frame(self):
        columns = {name: self[name].array for name in self}  # without an index to align by
        return pd.DataFrame(columns, index=self.index)


def read_column(tables, name, ids, places):
    """A column of some rows, from the tables in which SOMA gives it, in any order.

    Of texts each is kept once, and its number for each row.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        With soma_joinid and the column.
    name : str
    ids : i64 [n], ascending
        soma_joinid of the rows.
    places : callable
        (ids, joinids) → place of each joinid among ids, i32; −1 = nowhere.

    Returns
    -------
    pyarrow.ChunkedArray [n], in the order of ids

    Raises
    ------
    ValueError
        Other rows come than these.
    """
    import pyarrow as pa

    parts, order, done, ascending = [], [], 0, True
    for table in tables:
        at, column = places(ids, table["soma_joinid"].to_numpy()), table[name]
        ascending &= np.array_equal(at, np.arange(done, done + len(at)))
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        parts += (column.dictionary_encode() if text else column).chunks
        order.append(at)
        done += len(at)
    found = pa.chunked_array(parts).unify_dictionaries()
    if ascending and done == len(ids):
        return found
    order = np.concatenate(order)
    back = np.argsort(order, kind="stable")
    if not np.array_equal(order[back], np.arange(len(ids))):
        raise ValueError(f"{done} cells have {name}, and not the {len(ids)}")
    return found.take(pa.array(back))
