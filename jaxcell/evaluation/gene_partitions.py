"""Each gene's functional family and expression program, from files, before any model is looked at.

Source: BMFM-RNA, supplement 9. Families' rules: `gene_families`. Beside it:

- Descendants of a GO term are those by is_a and part_of.
- The paper's dissociation list is the 15 core genes of van den Brink et al.; which list is used is
  the user's.

A family whose file is not given takes a gene set of the same GO id from a gmt, else pathways that
come near it (``pathways``), else it is left out, by name, and its genes fall to later ones.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from . import gene_sets
from .gene_families import FAMILIES

UNCLASSIFIED, UNASSIGNED = "Unclassified", "unassigned"
REFERENCE = {"family": UNCLASSIFIED, "program": UNASSIGNED}
FILES = {  # what may be given -> what it is
    "gaf": "GO annotations (GAF)",
    "obo": "the Gene Ontology (OBO)",
    "tfclass": "a table of gene and TFClass superclass",
    "identity": "the HPA's proteinatlas.tsv, or a list of identity genes",
    "housekeeping": "Eisenberg and Levanon's list",
    "dissociation": "a list of dissociation genes",
    "lists": "a json of lists (" + ", ".join(gene_sets.LISTS) + ")",
    "gmt": "gene sets, one file or several",
    "table": "a table of gene and family or program, used as it is",
}


DISSOCIATION = ("GO:0009408", "GO:0006986")  # response to heat, to unfolded protein
CELL_CYCLE = "GO:0007049"
PROGRAMS = ("state_dissociation", "state_cell_cycle", "constitutive", "identity_associated")


@dataclass
class Partition:
    """Groups of G genes on two axes, 'family' and 'program'; an axis is absent without a file."""

    labels: dict = field(default_factory=dict)  # axis -> list of str [G]
    sources: dict = field(default_factory=dict)  # axis -> {group: what it was taken from}
    absent: dict = field(default_factory=dict)  # axis -> {group: what it would need}


def partition(symbols, ensembl, files=None):
    """Family and program of each gene.

    Parameters
    ----------
    symbols, ensembl : sequences of str [G]; ensembl '' where unknown
    files : {kind: path}, or for 'gmt' a list of paths; the kinds are those of `FILES`

    Returns
    -------
    Partition

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        An unknown kind, a GAF without an OBO or the reverse, a file that is not what it should
        be, or one that names none of the genes.
    """
    files = dict(files or {})
    if unknown := [kind for kind in files if kind not in FILES]:
        known = "; ".join(f"{kind}: {what}" for kind, what in FILES.items())
        raise ValueError(f"partitions: found {', '.join(unknown)}, expected of: {known}")
    if ("gaf" in files) != ("obo" in files):
        have, lack = ("gaf", "obo") if "gaf" in files else ("obo", "gaf")
        raise ValueError(f"partitions: {have} needs {lack}, {FILES[lack]}, beside it")
    symbols, given = [str(s) for s in symbols], _Given(files, set(symbols))
    found = Partition()
    _families(symbols, given, found)
    _programs(symbols, given, found)
    if "table" in files:
        _ready(symbols, ensembl, files["table"], found)
    return found


class _Given:
    """The gene sets of the files, each read once; ``term(id)`` is (genes, where from) or None."""

    def __init__(self, files, symbols):
        def known(kind, genes):
            if not symbols & set(genes):
                raise ValueError(
                    f"{files[kind]}: names none of the {len(symbols)} genes; expected human symbols"
                )
            return genes

        read = {
            "tfclass": gene_sets.read_tfclass,
            "identity": gene_sets.read_identity,
            "housekeeping": gene_sets.read_list,
            "dissociation": gene_sets.read_list,
        }
        self.sets = {k: known(k, f(files[k])) for k, f in read.items() if k in files}
        self.origin = {kind: Path(files[kind]).name for kind in self.sets}
        if "lists" in files:
            lists = gene_sets.read_lists(files["lists"])
            known("lists", set().union(*lists.values()))
            for kind, genes in lists.items():
                if kind not in self.sets:  # a file of its own goes before the collection
                    self.sets[kind] = genes
                    self.origin[kind] = f"{kind} of {Path(files['lists']).name}"
        self.terms = {}
        if "gaf" in files:
            wanted = {t for f in FAMILIES for t in f.go} | {CELL_CYCLE, *DISSOCIATION}
            self.terms = gene_sets.read_go(files["gaf"], files["obo"], sorted(wanted))
            known("gaf", set().union(*self.terms.values()))
        self.pathways, self.by_id = {}, {}
        paths = files.get("gmt", ())
        for path in [paths] if isinstance(paths, str | Path) else paths:
            sets = gene_sets.read_gmt(path)
            if not symbols & set().union(*sets.values()):
                raise ValueError(f"{path}: names none of the genes; expected human symbols")
            self.pathways |= sets
            self.by_id |= {i: (sets[name], name) for name in sets for i in gene_sets.go_ids(name)}

    def term(self, term):
        if self.terms:
            return self.terms[term], term
        return self.by_id.get(term)


def _families(symbols, given, found):
    rules, sources, absent = [], {}, {}
    for family in FAMILIES:
        rule, source, lacks = _rule(family, given)
        if rule is None:
            absent[family.name] = lacks
        else:
            rules.append((family.name, rule))
            sources[family.name] = source + (f", without {lacks}" if lacks else "")
    found.labels["family"] = [
        next((name for name, rule in rules if rule(s)), UNCLASSIFIED) for s in symbols
    ]
    found.sources["family"], found.absent["family"] = sources, absent


def _rule(family, given):
    """(symbol -> bool, or None; what it is taken from; what it lacks or '')."""
    if family.tf:
        table = given.sets.get("tfclass")
        if table is None:
            return None, "", "tfclass"
        start = "" if family.tf == "*" else family.tf
        return lambda s: s in table and table[s].lower().startswith(start), "TFClass", ""
    pattern = re.compile(family.symbols) if family.symbols else None
    genes, source, lacks = _terms(family, given)
    if pattern is None:
        return (lambda s: s in genes) if source else None, source, lacks
    if not source:
        return lambda s: bool(pattern.fullmatch(s)), "symbols", lacks
    if family.both:
        return lambda s: s in genes and bool(pattern.fullmatch(s)), f"symbols and {source}", lacks
    return lambda s: s in genes or bool(pattern.fullmatch(s)), f"symbols or {source}", lacks


def _terms(family, given):
    """(set of symbols, what it is taken from or '', what it lacks or '') of a family's terms."""
    named = {term: given.term(term) for term in family.go}
    have = [hit for hit in named.values() if hit]
    lacks = " and ".join(term for term, hit in named.items() if not hit)
    if not have:  # pathways stand in for the terms as a whole only
        have = [(given.pathways[p], p) for p in family.pathways if p in given.pathways]
    if not have:
        return set(), "", f"gaf and obo ({lacks})" if lacks else ""
    return set().union(*(genes for genes, _ in have)), ", ".join(name for _, name in have), lacks


def _programs(symbols, given, found):
    identity = given.sets.get("identity")
    sets, sources, absent = {}, {}, {}

    def take(program, parts, needs):
        parts = [(genes, name) for genes, name in parts if genes]
        if not parts:
            absent[program] = needs
            return
        sets[program] = set().union(*(genes for genes, _ in parts))
        sources[program] = ", ".join(name for _, name in parts)

    def listed(kind):
        return given.sets.get(kind), given.origin.get(kind)

    stress = {term: given.term(term) for term in DISSOCIATION}
    take(
        PROGRAMS[0],
        [listed("dissociation"), *filter(None, stress.values())],
        "dissociation, or gaf and obo",
    )
    lacks = ["dissociation"] if "dissociation" not in given.sets else []
    lacks += [term for term, hit in stress.items() if not hit]
    if PROGRAMS[0] in sets and lacks:
        sources[PROGRAMS[0]] += f", without {' and '.join(lacks)}"
    # Lists of cycling genes only where the paper's term is not given.
    cycle = given.term(CELL_CYCLE) or listed("cell_cycle")
    take(PROGRAMS[1], [cycle], f"gaf and obo ({CELL_CYCLE}), or lists")
    take(PROGRAMS[2], [listed("housekeeping")], "housekeeping, or lists")
    take(PROGRAMS[3], [listed("identity")], "identity")
    found.absent["program"] = absent
    if not sets:
        return
    for program in PROGRAMS[:2]:
        if program in sets and identity:
            sets[program] -= identity
        elif program in sets:
            sources[program] += ", identity genes not taken out"
    found.labels["program"] = [
        next((p for p in PROGRAMS if s in sets.get(p, ())), UNASSIGNED) for s in symbols
    ]
    found.sources["program"] = sources


def _ready(symbols, ensembl, path, found):
    """Put a table's groups in place of those by the rules; genes it lacks are of the reference."""
    rows = gene_sets.read_table(path, ("gene",), some=tuple(REFERENCE))
    by_gene = {row["gene"]: row for row in rows}
    if len(by_gene) < len(rows):
        raise ValueError(f"{path}: names a gene twice; expected one row for each")
    own = [by_gene.get(s) or by_gene.get(e or s) for s, e in zip(symbols, ensembl, strict=True)]
    if not any(own):
        raise ValueError(f"{path}: names none of the {len(symbols)} genes")
    for axis, rest in REFERENCE.items():
        if axis in rows[0]:
            found.labels[axis] = [(row[axis].strip() if row else "") or rest for row in own]
            groups = dict.fromkeys(row[axis].strip() for row in rows)
            found.sources[axis] = {g: Path(path).name for g in groups if g and g != rest}
            found.absent[axis] = {}
