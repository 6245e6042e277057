"""The network that gene vectors tell: programs, their edges, cells' scores; how stable it is.

M genes, D dimensions, P programs, n cells. Sources: scGPT's tutorial on gene vectors; BioFormers
3.4; scFormer A.1, Fig. 2c (the map of markers).
"""

import functools

import numpy as np

from jaxcell.evaluation.clustering import Space

from .attention_route import set_table, summary
from .enrichment import enriched
from .figures import gene_map, program_heat_map, program_networks
from .programs import (
    RESOLUTION,
    cosines,
    find_programs,
    generic_edges,
    markers,
    program_edges,
)
from .stability import edge_stability
from .study import Found

COLUMNS = ("source", "target", "score", "program")
SHOWN = 30  # programs of the heat map


def vector_route(study, vectors, score, *, resolution=RESOLUTION, groups=None, what="codebook"):
    """Everything of the embedding route.

    Programs, edges within them and the map are the first model's; all models are compared.

    Parameters
    ----------
    study : Study
    vectors : {model: [M, D]}
    score : function of {program: [gene, …]} -> float32 [n, P], see `programs.program_scores`
    resolution : of Leiden
    groups : str [n], cells' major types, whose markers are coloured on the map; None: programs are
    what : of the vectors, for titles

    Returns
    -------
    Found, the cells' scores float32 [n, P], {program: [gene, …]}
    """
    first = next(iter(vectors.values()))
    programs = find_programs(first, study.genes, resolution, seed=study.seed)
    cosine = {model: cosines(x) for model, x in vectors.items()}
    own = next(iter(cosine.values()))
    edges = program_edges(own, study.genes, programs)
    more, pairs = generic_edges(own, study.genes)
    scores = score(programs)
    means = np.array([scores[study.codes == i].mean(axis=0) for i in range(len(study.conditions))])
    results = {
        "dimensions": int(first.shape[1]),
        "programs": {name: len(one) for name, one in programs.items()},
        "edges_within_programs": len(edges),
        "pairs_above_generic_cut": pairs,
    }
    found = Found(results)
    within = [(a, b, c, p) for a, b, c, p in edges]
    found.tables["vector_edges.tsv"] = COLUMNS, within + [(*row, "") for row in more]
    lines = ["\t".join([name, f"{what}, {len(g)} genes", *g]) for name, g in programs.items()]
    found.texts["programs.gmt"] = "\n".join(lines) + "\n"
    found.tables["program_scores.tsv"] = (
        ("program", *study.conditions),
        [(name, *map(float, means[:, i])) for i, name in enumerate(programs)],
    )
    if len(vectors) > 1:
        results["stability"] = edge_stability(list(cosine.values()), study.places)
    if study.sets:
        rows, number = enriched(programs, study.sets, study.genes)
        results["enrichment"] = summary(rows, number)
        found.tables["enrichment_programs.tsv"] = set_table(rows)
    found.scores |= {("vectors", model, ""): one for model, one in cosine.items()}
    if len(vectors) > 1:
        found.scores[("vectors", "mean of models", "")] = np.mean(list(cosine.values()), axis=0)
    found.pictures = _pictures(study, first, programs, edges, means, groups, what)
    return found, scores, programs


def _pictures(study, vectors, programs, edges, means, groups, what):
    # Those that differ most between conditions, else the largest.
    order = np.argsort(-np.ptp(means, axis=0), kind="stable")[:SHOWN]
    names = list(programs)
    labels = [f"{names[i]} ({', '.join(programs[names[i]][:2])} …)" for i in order]
    heat = functools.partial(
        program_heat_map, scores=means.T[order], programs=labels, conditions=study.conditions
    )
    nets = functools.partial(program_networks, programs=programs, edges=edges)
    layout = Space(np.asarray(vectors, np.float32)).layout(study.seed)
    marked = {} if groups is None else markers(study.counts, study.genes, groups)
    title = f"Gene vectors ({what}): markers of cell types" if marked else f"Gene vectors ({what})"
    shown = marked or {name: programs[name] for name in names[:8]}
    on_map = functools.partial(
        gene_map, layout=layout, genes=study.genes, groups=shown, title=title
    )
    return [
        ("programs.png", "Mean score of each program, by condition", heat),
        ("program_networks.png", "The largest programs", nets),
        ("gene_map.png", title, on_map),
    ]
