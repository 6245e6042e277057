"""Whose genes are these? A guess from the names alone, to refuse two species in one vocabulary."""

import re
from collections import Counter

PREFIXES = {
    "ENSG": "human", "ENSMUSG": "mouse", "ENSRNOG": "rat", "ENSDARG": "zebrafish",
    "ENSMMUG": "rhesus macaque", "ENSMFAG": "crab-eating macaque", "ENSPTRG": "chimpanzee",
    "ENSCJAG": "marmoset", "ENSSSCG": "pig", "ENSBTAG": "cow", "ENSGALG": "chicken",
    "ENSCAFG": "dog", "ENSOCUG": "rabbit", "ENSXETG": "frog",
}  # fmt: skip
# Of symbols only the case tells: which species a style of writing fits.
CAPITALS, TITLE, LOWER = "capitals", "Title case", "lower case"
STYLES = {
    CAPITALS: frozenset(PREFIXES.values()) - {"mouse", "rat", "zebrafish"},
    TITLE: frozenset(("mouse", "rat")),
    LOWER: frozenset(("zebrafish", "frog")),
}
FEWEST = 5  # genes that must speak
CLEAR, MIXED = 0.7, 0.1  # share of one kind that decides, and of a second one that makes a mixture

_ASSEMBLY = re.compile(r"(GRCh38|hg19|hg38)_+|(GRCm39|GRCm38|mm10|mm39)_+")  # of barnyard mixtures
_ENSEMBL = re.compile(r"(ENS[A-Z]*G)\d{6,}")
_PATTERNS = {
    CAPITALS: re.compile(r"[A-Z][A-Z0-9]*[A-Z][A-Z0-9.-]*|C\d+orf\d+"),
    TITLE: re.compile(r"[A-Z][a-z][a-z0-9]*[a-z0-9.-]*"),
    LOWER: re.compile(r"[a-z][a-z0-9]*[a-z][a-z0-9.-]*"),
}


def species_of(names):
    """Species that the names of a file's genes fit.

    Parameters
    ----------
    names : GeneNames, [n_var]

    Returns
    -------
    dict
        'species' (frozenset: one, several that are written alike, none where nothing is clear),
        'mixed' (bool: names of several species) and 'why' (str, for a reader).
    """
    votes = Counter(
        vote
        for symbol, ensembl in zip(names.symbols, names.ensembl, strict=True)
        if (vote := _vote(symbol, ensembl))
    )
    total = votes.total()
    if total < FEWEST:
        return {"species": frozenset(), "mixed": False, "why": "too few names tell"}
    # Symbols of one file may be written in two ways; ids and assemblies of two species are two.
    named = [k for k, n in votes.most_common() if k not in STYLES and n >= MIXED * total]
    if len(named) > 1:
        why = ", ".join(f"{votes[k]:,} of {k}" for k in named)
        return {"species": frozenset(named), "mixed": True, "why": why}
    fits = {
        species: votes[species] + sum(votes[style] for style, of in STYLES.items() if species in of)
        for species in {*PREFIXES.values(), *named}
    }
    most = max(fits.values())
    species = frozenset(s for s, n in fits.items() if n == most and n >= CLEAR * total)
    kinds = ", ".join(f"{n:,} {kind_of(k)}" for k, n in votes.most_common(2))
    return {"species": species, "mixed": False, "why": f"of {total:,} names {kinds}"}


def kind_of(kind):
    """A kind of names, for a reader: the ids of a species, or a style of symbols."""
    return f"symbols in {kind}" if kind in STYLES else f"{kind} ids"


def called(found):
    """What `species_of` found, in a word or two."""
    if found["mixed"]:
        return "mixed: " + ", ".join(sorted(found["species"]))
    if found["species"] == STYLES[CAPITALS]:
        return "human (symbols in capitals)"
    return " or ".join(sorted(found["species"])) or "unclear"


def _vote(symbol, ensembl):
    if match := _ENSEMBL.match(ensembl):
        return PREFIXES.get(match[1], match[1])
    if match := _ASSEMBLY.match(symbol):
        return "human" if match[1] else "mouse"
    if len(symbol) < 3:
        return None
    return next((kind for kind, p in _PATTERNS.items() if p.fullmatch(symbol)), None)


def check_species(files, gene_map=None):
    """Refuse files whose genes are those of several species.

    Parameters
    ----------
    files : dict
        {name of the file: GeneNames}.
    gene_map : GeneMap, optional
        A name that it takes as an ortholog of another gene is that gene's.

    Raises
    ------
    ValueError
        A file has the genes of several species, or no species fits all files.
    """
    found = {where: species_of(_mapped(names, gene_map)) for where, names in files.items()}
    mixed = [where for where, one in found.items() if one["mixed"]]
    clear = {where: one for where, one in found.items() if one["species"]}
    if mixed or (clear and not frozenset.intersection(*(o["species"] for o in clear.values()))):
        shown = mixed or _one_of_each(clear)
        text = "; ".join(
            f"{where}: {called(found[where])} ({found[where]['why']})" for where in shown
        )
        raise ValueError(
            f"mixed species: {text}. Expected the genes of one: give a table of orthologs "
            "(--orthologs), or them as aliases of a gene map (--gene-map); prepare each species by "
            "itself; or say which genes you want (--vocabulary)"
        )


def _mapped(names, gene_map):
    if gene_map is None:
        return names
    pairs = zip(names.symbols, names.ensembl, strict=True)
    completed = [gene_map.complete(symbol, ensembl) for symbol, ensembl in pairs]
    return type(names)(*map(tuple, zip(*completed, strict=True)))


def _one_of_each(found):
    """The first file of each species."""
    return list({one["species"]: where for where, one in reversed(found.items())}.values())[::-1]
