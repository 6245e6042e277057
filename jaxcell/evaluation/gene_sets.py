"""Files that say what a gene is: GO, gene sets, TFClass, the Human Protein Atlas, plain lists.

Genes are symbols as the files spell them. Files may be packed (.gz). Every reader raises
FileNotFoundError, or ValueError that names the file and what it should hold.
"""

import csv
import gzip
import io
import json
import re
from collections import defaultdict
from pathlib import Path

from jaxcell.files import near

# Both carry a gene from a term to the one above it; regulators of a process are not part of it.
UPWARD = ("is_a", "part_of")
SPECIFICITY = "RNA single cell type specificity"  # the column of the HPA's proteinatlas.tsv
IDENTITY = ("cell type enriched", "group enriched")
LISTS = {  # entries of a json of lists -> what they stand for
    "cell_cycle_S": "cell_cycle",
    "cell_cycle_G2M": "cell_cycle",
    "dissociation_van_den_brink_2017": "dissociation",
    "eisenberg_housekeeping": "housekeeping",
}


def lines_of(path):
    """The lines of a text file, packed or not, without their ends."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file{near(path)}")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        return file.read().splitlines()


def read_go(gaf, obo, terms):
    """The genes of GO terms and of all terms below them: {term: set of symbols}.

    Below is what reaches the term by is_a and part_of. Negated annotations (NOT) are left out.

    Parameters
    ----------
    gaf : GO annotation file of one species
    obo : the ontology, such as go-basic.obo
    terms : GO ids

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        obonet is not installed; no such file; no GAF; or a term that the ontology lacks.
    """
    try:
        import networkx
        import obonet
    except ImportError as error:
        raise ImportError(f'{obo}: needs {error.name}: pip install "jaxcell[eval]"') from error
    lines = lines_of(obo)
    if not any(line.startswith("[Term]") for line in lines):
        raise ValueError(f"{obo}: holds no [Term]; expected an ontology in OBO")
    graph = obonet.read_obo(io.StringIO("\n".join(lines)))
    if absent := [term for term in terms if term not in graph]:
        raise ValueError(f"{obo}: has no {', '.join(absent[:5])}; expected the Gene Ontology")
    up = networkx.DiGraph((a, b) for a, b, kind in graph.edges(keys=True) if kind in UPWARD)
    up.add_nodes_from(graph)
    now = {old: term for term, data in graph.nodes(data=True) for old in data.get("alt_id", ())}
    direct = defaultdict(set)
    for symbol, term in _annotations(gaf):
        direct[now.get(term, term)].add(symbol)
    # Edges go from child to parent: the descendants of a term are networkx's ancestors.
    below = {term: {term, *networkx.ancestors(up, term)} for term in terms}
    return {term: set().union(*(direct[t] for t in own)) for term, own in below.items()}


def _annotations(gaf):
    """(symbol, GO id) of each line of a GAF that is not negated."""
    found = []
    for i, line in enumerate(lines_of(gaf), 1):
        if line.startswith("!") or not line.strip():
            continue
        part = line.split("\t")
        if len(part) < 15 or not part[4].startswith("GO:"):
            raise ValueError(
                f"{gaf}, line {i}: expected a GAF: 15 columns or more, the 5th a GO id"
            )
        if "NOT" not in part[3].split("|"):
            found.append((part[2], part[4]))
    if not found:
        raise ValueError(f"{gaf}: holds no annotation; expected a GAF file")
    return found


def read_gmt(path):
    """The sets of a gmt file in its order: {name: set of symbols}."""
    found = {}
    for i, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        genes = {g.split(",")[0].strip() for g in rest[1:]} - {""}  # Enrichr may write gene,1.0
        if not genes:
            raise ValueError(f"{path}, line {i}: expected a name, a description and genes, by tabs")
        if name in found:
            raise ValueError(f"{path}, line {i}: the set {name} is there twice")
        found[name] = genes
    if not found:
        raise ValueError(
            f"{path}: holds no gene set; expected a name, a description and genes a line, by tabs"
        )
    return found


def go_ids(name):
    """The GO ids in the name of a set, such as 'DNA repair (GO:0006281)'."""
    return re.findall(r"GO:\d{7}", name)


def read_list(path):
    """Set of the first words of the lines, comments (#) aside: a list of symbols, HK_genes.txt."""
    words = (line.split("#")[0].split() for line in lines_of(path))
    found = {w[0] for w in words if w}
    if not found:
        raise ValueError(f"{path}: holds no gene; expected one a line")
    return found


def read_lists(path):
    """The lists of a json file that name a program: {'cell_cycle' | …: set of symbols}."""
    try:
        data = json.loads("\n".join(lines_of(path)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON: {error}") from error
    known = [name for name in LISTS if isinstance(data, dict) and name in data]
    if not known:
        raise ValueError(f"{path}: has none of {', '.join(LISTS)}; expected lists of these names")
    found = defaultdict(set)
    for name in known:
        if not isinstance(data[name], list) or not data[name]:
            raise ValueError(f"{path}: {name} is no list of symbols")
        found[LISTS[name]] |= set(data[name])
    return dict(found)


def read_table(path, columns, some=()):
    """Columns of a tab-separated file with a header: a list of dicts.

    columns : those that it must have; some : of which it must have at least one
    """
    rows = list(csv.reader(lines_of(path), delimiter="\t"))
    header = rows[0] if rows else []
    if not set(columns) <= set(header) or (some and not set(some) & set(header)):
        wanted = " and ".join([*columns, *([" or ".join(some)] if some else [])])
        raise ValueError(
            f"{path}: found the columns {', '.join(header[:5]) or '(none)'}, expected a "
            f"tab-separated header with {wanted}"
        )
    for i, row in enumerate(rows[1:], 2):
        if row and len(row) != len(header):
            raise ValueError(f"{path}, line {i}: expected {len(header)} columns, found {len(row)}")
    return [dict(zip(header, row, strict=True)) for row in rows[1:] if row]


def read_identity(path):
    """Set of the identity genes: of the HPA's proteinatlas.tsv, or of a plain list.

    HPA: 'Cell type enriched' and 'Group enriched' in its single-cell specificity.
    """
    if not any("\t" in line for line in lines_of(path)[:1]):
        return read_list(path)
    rows = read_table(path, ("Gene", SPECIFICITY))
    found = {r["Gene"] for r in rows if r[SPECIFICITY].strip().lower() in IDENTITY}
    if not found:
        raise ValueError(f"{path}: {SPECIFICITY} is nowhere {' or '.join(IDENTITY)}")
    return found


def read_tfclass(path):
    """TFClass as a table of gene and superclass: {symbol: superclass}."""
    return {r["gene"]: r["superclass"] for r in read_table(path, ("gene", "superclass"))}
