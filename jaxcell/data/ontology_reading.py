"""An OBO file, or the Cell Ontology inside a package → ``Ontology``."""

import importlib.metadata
import re
from pathlib import Path

from jaxcell.data.ontology import Ontology

CELLXGENE = "cellxgene"  # instead of a path: what the package cellxgene-ontology-guide carries

# synonym: "B lymphocyte" EXACT [GOC:tfm]
_EXACT = re.compile(r'"((?:[^"\\]|\\.)*)"\s+EXACT\b')


def read_ontology(path, prefix="CL"):
    """Read the terms of one prefix and their is_a edges.

    Obsolete terms, other relations and edges to other ontologies' terms are left out. Ids of
    merged terms (alt_id) name the term they were merged into, as exact synonyms do.

    Parameters
    ----------
    path : path of an OBO file, or 'cellxgene' for the release in the package
        cellxgene-ontology-guide (its newest schema; no download; its is_a edges are inferred ones
        too, more than those asserted in cl-basic.obo)
    prefix : str, of the ids

    Returns
    -------
    Ontology
        ``source`` is the file's name with its data-version (or its remark), or the package's name
        and version with the ontology's.

    Raises
    ------
    ImportError
        If the extra ``ontology`` is not installed.
    FileNotFoundError, ValueError
        No such file, no OBO, no term of this prefix, an edge to a term that is not there, a cycle.
    """
    if str(path) == CELLXGENE:
        return _make(*_of_package(prefix), prefix)
    if not Path(path).is_file():
        raise FileNotFoundError(f"ontology {path}: no such file; expected OBO, or {CELLXGENE!r}")
    return _make(*_of_file(path, prefix), prefix)


def _make(terms, source, prefix):
    """Ontology of {id: (name, parents' ids, synonyms)}."""
    if not terms:
        raise ValueError(f"ontology {source}: has no term {prefix}:… that is not obsolete")
    ids = sorted(terms)
    place = {term: i for i, term in enumerate(ids)}
    for term in ids:
        absent = [parent for parent in terms[term][1] if parent not in place]
        if absent:
            raise ValueError(
                f"ontology {source}: {term} is_a {absent[0]}, which is no term of it or obsolete"
            )
    names, parents, synonyms = zip(*(terms[term] for term in ids), strict=True)
    return Ontology(
        tuple(ids),
        names,
        tuple(tuple(sorted({place[p] for p in of_one})) for of_one in parents),
        tuple(tuple(sorted(set(of_one))) for of_one in synonyms),
        source,
    )


def _of_file(path, prefix):
    """({id: (name, parents' ids, synonyms)}, source) of an OBO file."""
    try:
        import obonet
    except ImportError as error:
        raise ImportError(
            f"{path}: reading OBO needs obonet: pip install 'jaxcell[ontology]'"
        ) from error
    try:
        with open(path, encoding="utf-8") as file:
            graph = obonet.read_obo(file)
    except (ValueError, KeyError) as error:  # KeyError: a term without an id
        raise ValueError(
            f"ontology {path}: is no OBO file: {error}; expected one, or cellxgene"
        ) from error
    own = f"{prefix}:"
    parents = {term: [] for term in graph if term.startswith(own) and "name" in graph.nodes[term]}
    for term, parent, kind in graph.edges(keys=True):
        if kind == "is_a" and term in parents and parent.startswith(own):
            parents[term].append(parent)
    terms = {}
    for term, above in parents.items():
        found = graph.nodes[term]
        exact = filter(None, map(_EXACT.match, found.get("synonym", [])))
        texts = [re.sub(r"\\(.)", r"\1", match[1]) for match in exact]
        terms[term] = (found["name"], above, [*texts, *found.get("alt_id", [])])
    said = [graph.graph.get("data-version"), *graph.graph.get("remark", [])]
    version = next((text for text in said if text), None)
    return terms, Path(path).name + (f" ({version})" if version else "")


def _of_package(prefix):
    """The same of the package cellxgene-ontology-guide."""
    try:
        from cellxgene_ontology_guide.ontology_parser import OntologyParser
    except ImportError as error:
        raise ImportError(
            f"the ontology {CELLXGENE!r} lies inside cellxgene-ontology-guide: "
            "pip install 'jaxcell[ontology]'"
        ) from error
    parser = OntologyParser()
    schema, own = parser.cxg_schema, f"{prefix}:"
    release = importlib.metadata.version("cellxgene-ontology-guide")
    if prefix not in schema.supported_ontologies:
        known = ", ".join(sorted(schema.supported_ontologies))
        raise ValueError(f"cellxgene-ontology-guide {release}: has no {prefix}, but {known}")
    terms = {
        term: (
            parser.get_term_label(term),
            [p for p in parser.get_term_parents(term) if p.startswith(own)],
            parser.get_term_synonyms(term),
        )
        for term in schema.ontology(prefix)
        if term.startswith(own) and not parser.is_term_deprecated(term)
    }
    version = schema.supported_ontologies[prefix]["version"]
    return terms, f"cellxgene-ontology-guide {release} ({prefix} {version})"
