"""Genes of another species under the names of ours, by a table that is given."""

from dataclasses import dataclass, replace
from pathlib import Path

from jaxcell.data.genes import strip_version
from jaxcell.files import near, read_text

OPTION = "--orthologs"


@dataclass(frozen=True)
class Orthologs:
    """One-to-one orthologs.

    ours_of : dict, their gene → ours
    theirs, ours : frozenset of str, all names on each side, also of genes that are not one-to-one
    path : str
    """

    ours_of: dict[str, str]
    theirs: frozenset
    ours: frozenset
    path: str


def read_orthologs(path):
    """Read a table of orthologs: tab-separated their gene, our gene; further columns are let be.

    A gene stands there by one name, symbol or Ensembl id (a version is let be); a line with an
    empty field is a gene without an ortholog.

    Returns
    -------
    Orthologs or None
        None where no path is given.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; a line has one field; no pair is one-to-one.
    """
    if not path:
        return None
    if not Path(path).is_file():
        raise FileNotFoundError(f"table of orthologs {path} does not exist ({OPTION}){near(path)}")
    pairs = set()
    for number, line in enumerate(read_text(path, "a table of orthologs").splitlines(), 1):
        fields = [field.strip() for field in line.split("\t")]
        if line.strip() and len(fields) < 2:
            raise ValueError(
                f"{path}, line {number}: expected tab-separated their gene, our gene; found "
                f"{line[:60]!r}"
            )
        if line.strip():
            pairs.add(tuple(strip_version(name) or name for name in fields[:2]))
    ours_of, theirs_of = {}, {}
    for theirs, ours in pairs:
        if theirs and ours:
            ours_of.setdefault(theirs, []).append(ours)
            theirs_of.setdefault(ours, []).append(theirs)
    single = {
        theirs: ours[0]
        for theirs, ours in ours_of.items()
        if len(ours) == 1 and len(theirs_of[ours[0]]) == 1
    }
    if not single:
        raise ValueError(f"{path} has no one-to-one orthologs among its {len(pairs)} lines")
    names = [frozenset(pair[i] for pair in pairs) - {""} for i in (0, 1)]
    return Orthologs(single, *names, str(path))


def translated(names, orthologs):
    """Names of a file with those of its one-to-one orthologs in their place.

    A file is of the other species if more of its columns are among the table's genes of that
    species alone than among ours alone; others stay as they are. Of a translated file no other
    column keeps a name, so that none is taken for a gene of ours by chance.

    Parameters
    ----------
    names : GeneNames, [n_var]
    orthologs : Orthologs or None

    Returns
    -------
    GeneNames
        With a ``note`` of what was done, if anything was.
    """
    if orthologs is None:
        return names
    pairs = list(zip(names.ensembl, names.symbols, strict=True))
    their, our = orthologs.theirs - orthologs.ours, orthologs.ours - orthologs.theirs
    n_their, n_our = (sum(e in side or s in side for e, s in pairs) for side in (their, our))
    if n_their <= n_our:
        return names
    of = orthologs.ours_of
    ours = [of.get(e) or of.get(s, "") for e, s in pairs]
    ensembl = [strip_version(name) for name in ours]
    symbols = ["" if ident else name for name, ident in zip(ours, ensembl, strict=True)]
    n = sum(map(bool, ours))
    known = sum(e in orthologs.theirs or s in orthologs.theirs for e, s in pairs)
    note = (
        f"{n} of {len(names)} columns have the names of their one-to-one orthologs ({OPTION} "
        f"{orthologs.path}); left out are {known - n} without a single one and "
        f"{len(names) - known} that the table lacks"
    )
    shown = names.show(range(len(names)))
    return replace(names, symbols=tuple(symbols), ensembl=tuple(ensembl), spelled=shown, note=note)
