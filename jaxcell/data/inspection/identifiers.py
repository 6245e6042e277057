"""How a file names its genes."""

import re
from collections import Counter

from jaxcell.data.genes import strip_version
from jaxcell.data.species import called, species_of

_VERSION = re.compile(r"ENS[A-Z]*G\d{6,}\.\d+")
_SPIKE_IN = re.compile(r"ERCC-\d{5}")
_MITOCHONDRIAL = re.compile(r"(?:GRCh38_+|mm10_+)?mt-.+", re.IGNORECASE)
# The mitochondrial genes of GENCODE 44 but the tRNAs: a file may have ids alone.
_MITOCHONDRIAL_IDS = frozenset(
    f"ENSG00000{number}"
    for number in (
        198695, 198712, 198727, 198763, 198786, 198804, 198840, 198886, 198888, 198899, 198938,
        210082, 211459, 212907, 228253,
    )
)  # fmt: skip


def mitochondrial(names):
    """Which genes are mitochondrial, by symbol (MT-…) or by id: list of bool [n_var]."""
    return [
        bool(_MITOCHONDRIAL.fullmatch(symbol) or ensembl in _MITOCHONDRIAL_IDS)
        for symbol, ensembl in zip(names.symbols, names.ensembl, strict=True)
    ]


def facts(names, spelled=()):
    """What a file's names are.

    Parameters
    ----------
    names : GeneNames, [n_var]
    spelled : list of str, [n_var] or more
        The names as the file's index and columns have them.

    Returns
    -------
    dict
        Number of genes with 'symbols', 'ensembl', 'both', no name ('unnamed') and 'spike_ins'
        (ERCC); 'versions' of Ensembl ids; 'duplicates' (names that several genes have, and how many
        do) with examples; 'species' and 'why'.
    """
    pairs = list(zip(names.symbols, names.ensembl, strict=True))
    own = Counter(ensembl or symbol for symbol, ensembl in pairs if ensembl or symbol)
    twice = [name for name, number in own.items() if number > 1]
    guess = species_of(names)
    return {
        "symbols": sum(bool(s) for s, _ in pairs),
        "ensembl": sum(bool(e) for _, e in pairs),
        "both": sum(bool(s and e) for s, e in pairs),
        "unnamed": sum(not (s or e) for s, e in pairs),
        "spike_ins": sum(bool(_SPIKE_IN.fullmatch(name)) for name in spelled),
        "versions": sum(bool(_VERSION.match(name)) for name in spelled),
        "duplicates": len(twice),
        "duplicate_examples": twice[:5],
        "species": called(guess),
        "why": guess["why"],
    }


def kind(found):
    """How genes are named, in two or three words."""
    genes = found["symbols"] + found["ensembl"] - found["both"]
    if not genes:
        return "none"
    parts = []
    for what, number in (("symbols", found["symbols"]), ("Ensembl", found["ensembl"])):
        if number:
            parts.append(what if number >= 0.995 * genes else f"{what} {number / genes:.0%}")
    return " + ".join(parts) + (" with versions" if found["versions"] else "")


def spelled(var):
    """Each gene's name as its file's index has it, or as an Ensembl id in another column."""
    names = [str(name) for name in var.index]
    for column in var.columns:
        values = var[column].astype(str) if len(var) else ()
        if len(var) and strip_version(str(values.iloc[0])):
            return [str(value) for value in values]
    return names
