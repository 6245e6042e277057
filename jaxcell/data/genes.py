"""Gene names of a file, and the gene map (symbol ↔ Ensembl id, aliases). n_var = its columns."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from jaxcell.files import near, read_text

SYMBOL_COLUMNS = (
    "symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name",
    "hgnc_symbol",
)  # fmt: skip
ENSEMBL_COLUMNS = (
    "ensembl_id", "ensembl_ids", "ensembl", "ensembl_gene_id", "gene_ensembl", "gene_id",
    "gene_ids", "feature_id",
)  # fmt: skip
IDENTIFIERS = ("auto", "symbols", "ensembl")

_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{6,})(?:\.\d+)?(_PAR_Y)?")
# No genes: spike-ins (ERCC1 … ERCC8 are genes), and reads without a gene, of HTSeq and STAR.
_NO_GENE = re.compile(
    r"ERCC-\d{5}|__(no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)"
    r"|N_(unmapped|multimapping|noFeature|ambiguous)"
)


@dataclass(frozen=True)
class GeneMap:
    """Ensembl ids, symbols and aliases, each only where it means a single gene."""

    ensembl_of: dict[str, str]  # symbol → Ensembl id
    symbol_of: dict[str, str]  # Ensembl id → symbol
    # Alias (symbol or Ensembl id, an ortholog's too), never another gene's own name → Ensembl id
    alias_of: dict[str, str]

    @property
    def symbols(self):
        """All symbols and aliases that mean a gene, set."""
        return {*self.ensembl_of, *self.alias_of}

    def complete(self, symbol, ensembl):
        """(symbol, Ensembl id) with the unknown one of the two filled in where the map knows it."""
        ensembl = self.alias_of.get(ensembl, ensembl)
        if not ensembl:
            ensembl = self.ensembl_of.get(symbol) or self.alias_of.get(symbol, "")
        return symbol or self.symbol_of.get(ensembl, ""), ensembl


def read_gene_map(path=None):
    """Read a gene map: tab-separated ensembl, symbol and (optional) aliases with | between.

    With the orthologs of another species as aliases, by symbol or Ensembl id, its cells are read
    as this one's: a name that is the ortholog of several genes is none of them. Of a file that has
    both names, its Ensembl ids count; ``identifiers='symbols'`` takes the others.

    Parameters
    ----------
    path : path, optional
        By default what the environment variable JAXCELL_GENES names.

    Returns
    -------
    GeneMap or None
        None where neither names a file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A line does not begin with an Ensembl id (the first may be a heading).
    """
    path = path or os.environ.get("JAXCELL_GENES")
    if not path:
        return None
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"gene map {path} does not exist (--gene-map or JAXCELL_GENES){near(path)}"
        )
    rows = []
    for number, line in enumerate(read_text(path, "a gene map").splitlines(), 1):
        fields = [field.strip() for field in line.split("\t")]
        ensembl = strip_version(fields[0])
        if ensembl and len(fields) > 1:
            rows.append((ensembl, fields[1], fields[2].split("|") if len(fields) > 2 else []))
        elif line.strip() and number > 1:
            raise ValueError(
                f"{path}, line {number}: expected tab-separated ensembl, symbol, aliases; "
                f"found {line[:60]!r}"
            )
    ensembl_of = _unique((symbol, ensembl) for ensembl, symbol, _ in rows)
    own = {name for ensembl, symbol, _ in rows for name in (ensembl, symbol)}
    aliases = _unique(
        (strip_version(a.strip()) or a.strip(), ensembl)
        for ensembl, _, names in rows
        for a in names
    )
    return GeneMap(
        ensembl_of,
        _unique((ensembl, symbol) for ensembl, symbol, _ in rows),
        {alias: ensembl for alias, ensembl in aliases.items() if alias not in own},
    )


def _unique(pairs):
    """Dict of the keys that have a single value."""
    found = {}
    for key, value in pairs:
        if key and value:
            found.setdefault(key, set()).add(value)
    return {key: values.pop() for key, values in found.items() if len(values) == 1}


def strip_version(name):
    """Ensembl id without its version (`ENSG00000141510.18` → `ENSG00000141510`); '' for others."""
    match = _ENSEMBL.fullmatch(name)
    return match[1] + (match[2] or "") if match else ""


@dataclass(frozen=True)
class GeneNames:
    """Names of a file's columns; '' = unknown. symbols, ensembl: tuples [n_var].

    spelled [n_var] or (): how the file spells them, where names were put in their place; note: why.
    """

    symbols: tuple[str, ...]
    ensembl: tuple[str, ...]
    spelled: tuple[str, ...] = ()
    note: str = ""

    def __len__(self):
        return len(self.symbols)

    def show(self, columns):
        """Names of some columns, as the file spells them."""
        if self.spelled:
            return tuple(self.spelled[i] for i in columns)
        return tuple(self.symbols[i] or self.ensembl[i] or f"column {i}" for i in columns)


def identify(var, identifiers="auto", where="the file"):
    """Symbols and Ensembl ids of a file's genes, from its var columns and index.

    Parameters
    ----------
    var : pandas.DataFrame, [n_var]
    identifiers : {'auto', 'symbols', 'ensembl'}
        'symbols' takes no Ensembl ids from the file; 'ensembl' leaves out columns that have none.
    where : str
        Name of the file in errors.

    Returns
    -------
    GeneNames
        Nothing for spike-ins (ERCC-00002 …) and reads without a gene (__no_feature, N_unmapped …).

    Raises
    ------
    ValueError
        The file has no such identifiers.
    """
    if identifiers not in IDENTIFIERS:
        raise ValueError(f"identifiers is {identifiers!r}; known: {', '.join(IDENTIFIERS)}")
    index = _strings(var.index)
    given_symbols, given_ensembl = _column(var, SYMBOL_COLUMNS), _column(var, ENSEMBL_COLUMNS)
    symbols, ensembl = [], []
    for name, symbol, ident in zip(
        index, given_symbols or index, given_ensembl or index, strict=True
    ):
        ident = strip_version(ident) or strip_version(name) or strip_version(symbol)
        symbol = symbol or ("" if ident else name)
        if strip_version(symbol) or symbol.isdigit() or _NO_GENE.fullmatch(symbol):
            symbol = ""
        if identifiers == "symbols":
            ident = ""
        elif identifiers == "ensembl" and not ident:
            symbol = ""
        symbols.append(symbol)
        ensembl.append(ident)
    if not any(symbols) and not any(ensembl):
        what = {"auto": "gene names", "symbols": "gene symbols", "ensembl": "Ensembl ids"}
        raise ValueError(
            f"{where} has no {what[identifiers]} in var: its index begins {index[:3]}, its columns "
            f"are {list(map(str, var.columns))}; symbols are looked for in {SYMBOL_COLUMNS[:5]} …, "
            f"Ensembl ids in {ENSEMBL_COLUMNS[:5]} …, then in the index (see --identifiers)"
        )
    return GeneNames(tuple(symbols), tuple(ensembl))


def _column(var, names):
    columns = {str(c).lower(): c for c in var.columns}
    for name in names:
        if name in columns:
            return _strings(var[columns[name]])
    return None


def _strings(values):
    return ["" if pd.isna(v) else str(v).strip() for v in values]
