"""Names that R has changed: its ``make.names`` writes HLA.A for HLA-A and X7SK for 7SK.

V = genes that are known, n_var = columns of a file.
"""

import re

import numpy as np

_NOT_KEPT = re.compile(r"[^A-Za-z0-9._]")


def as_in_r(symbol):
    """What R makes of a symbol as the name of a column; a symbol that it keeps is itself."""
    name = _NOT_KEPT.sub(".", symbol)
    return name if re.match(r"[A-Za-z]|\.(?!\d)", name) else f"X{name}"


def before_r(symbols, known):
    """The symbols that R changed, as they were.

    Only where a symbol is none that is known, and R makes it of a single one that is.

    Parameters
    ----------
    symbols : sequence of str, [n_var]
        '' = none.
    known : iterable of str
        Symbols of genes.

    Returns
    -------
    list of str, [n_var]
        '' where R changed nothing, or nobody can tell.
    """
    known, made = {name for name in known if name}, {}
    if not any("." in one or one.startswith("X") for one in symbols):  # R's only marks
        return [""] * len(symbols)
    for name in known:
        made.setdefault(as_in_r(name), []).append(name)
    found = [() if one in known else made.get(one, ()) for one in symbols]
    return [names[0] if len(names) == 1 else "" for names in found]


def through_r(names, known, columns, find):
    """Genes of the columns without one, by their symbols before R changed them: i32 [n_var].

    Only of columns that have no Ensembl id, which would say it better.

    Parameters
    ----------
    names : GeneNames, [n_var]
    known : iterable of str
    columns : i32 [n_var]
        Gene of each column by its own names; -1 = none.
    find : callable
        Symbol → its gene, -1 = none.
    """
    asked = [
        symbol if gene < 0 and not ensembl else ""
        for symbol, ensembl, gene in zip(names.symbols, names.ensembl, columns, strict=True)
    ]
    if not any(asked):
        return np.full(len(asked), -1, np.int32)
    before = before_r(asked, known)
    return np.array([find(symbol) if symbol else -1 for symbol in before], np.int32)
