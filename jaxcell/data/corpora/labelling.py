"""Label columns as a corpus wants them: renamed, mapped, and as terms of a cell ontology.

n cells.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from jaxcell.data.splits import is_missing
from jaxcell.files import read_text

SHOWN = 8  # labels without a term that an error names


def read_changes(given, where):
    """A mapping of labels: a dict, or a tab-separated file, the text first and ours last.

    A first line whose last field is 'cl_id', 'label' or 'term' is a heading.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a line without a tab, or a text twice with two meanings.
    """
    if isinstance(given, dict):
        return given
    if not Path(given).is_file():
        raise FileNotFoundError(f"{where}: found no file {given}, expected tab-separated labels")
    changes = {}
    for number, line in enumerate(read_text(given).splitlines(), 1):
        fields = [one.strip() for one in line.split("\t")]
        if not line.strip() or (number == 1 and fields[-1] in ("cl_id", "label", "term")):
            continue
        if len(fields) < 2 or not fields[0] or not fields[-1]:
            raise ValueError(
                f"{where}: {given}, line {number}: found {line[:60]!r}, expected a label, a tab "
                "and what it becomes"
            )
        if changes.setdefault(fields[0], fields[-1]) != fields[-1]:
            raise ValueError(
                f"{where}: {given}, line {number}: found {fields[0]!r} again, as "
                f"{fields[-1]!r} and {changes[fields[0]]!r}; expected one meaning"
            )
    return changes


def relabelled(column, changes, ontology, unresolved, where):
    """A column with its labels mapped, and then as ids of terms.

    Parameters
    ----------
    column : pandas.Series [n]
    changes : dict
        Their text → ours, or a term; what is not there stays.
    ontology : Ontology or None
        With one, a label becomes the id of the term that it names: id, name or exact synonym.
    unresolved : {'error', 'unknown'}
        What to do with a label that is no term and does not say "not known".
    where : str
        For messages.

    Returns
    -------
    pandas.Series of categories [n]

    Raises
    ------
    ValueError
        Labels without a term, by name and number of cells.
    """
    column = column.astype("category")
    old = [str(c) for c in column.cat.categories]
    new = [changes.get(name, name) for name in old]
    if ontology is not None:
        nodes = [ontology.resolve(name) for name in new]
        missing = is_missing(new)
        lost = [i for i, node in enumerate(nodes) if node is None and not missing[i]]
        cells = column.cat.codes.value_counts()
        lost = sorted((i for i in lost if cells.get(i)), key=lambda i: -cells[i])
        if lost:
            _report([(old[i], int(cells[i])) for i in lost], len(old), ontology, unresolved, where)
        new = [None if node is None else ontology.ids[node] for node in nodes]
    names = sorted({name for name in new if name is not None})
    place = {name: i for i, name in enumerate(names)}  # two texts of one meaning are one category
    recode = np.array([*(place.get(name, -1) for name in new), -1], np.int32)
    codes = recode[column.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, names), index=column.index)


def _report(lost, labels, ontology, unresolved, where):
    shown = ", ".join(f"{name!r} ({cells:,})" for name, cells in lost[:SHOWN])
    shown += f" … and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    found = (
        f"{where}: found {len(lost)} of {labels} labels, {sum(n for _, n in lost):,} cells, that "
        f"are no terms of {ontology.source}: {shown}"
    )
    if unresolved == "error":
        raise ValueError(
            f"{found}; expected ids, names or exact synonyms: map them (labels.….map), or make "
            "these cells' label unknown (unresolved: unknown)"
        )
    warnings.warn(f"{found}; their label is unknown", stacklevel=4)
