"""The network that attention tells: edges by condition, regulators, clusters; how stable it is.

M genes, k conditions. Sources: scGPT's attention tutorial; BioFormers 3.4.
"""

import functools
import re

import numpy as np

from .attention_figures import cluster_map, regulator_bars
from .edges import (
    EDGE_COLUMNS,
    attention_clusters,
    cluster_difference,
    contrasts,
    edge_rows,
    influence,
    regulators,
    targets,
)
from .enrichment import enriched
from .figures import factor_heat_map, factor_network
from .regulators import behind, driver_number, factors_among
from .stability import edge_stability
from .study import TOPS, Found

PICTURED = 6  # sources
HEAT, STAR = 10, 20  # genes of a heat map, of a network
SET_COLUMNS = ("list", "set", "overlap", "found", "members", "fold", "p", "p_bonferroni", "genes")


def attention_route(study, maps, received, cells):
    """Everything of the attention route.

    Parameters
    ----------
    study : Study
    maps : {model: [k, M, M]}, rows read, columns are read
    received : {model: [k, M]}
    cells : of each condition [k]

    Returns
    -------
    Found
    """
    names = study.conditions
    mean = np.mean(list(maps.values()), axis=0)
    whole = contrasts(dict(zip(names, mean, strict=True)), study.reference)
    total = np.mean(list(received.values()), axis=0)
    total = contrasts(dict(zip(names, total, strict=True)), study.reference)
    number = driver_number(len(study.genes), TOPS[1], TOPS[0])
    drivers = {name: regulators(one, study.genes, number) for name, one in total.items()}
    clusters = attention_clusters(mean.mean(axis=0), seed=study.seed)
    results = {
        "cells": dict(zip(names, map(int, cells), strict=True)),
        "regulators": {name: [row[0] for row in rows[:20]] for name, rows in drivers.items()},
        "clusters": int(clusters.max()) + 1,
        "within_less_between_clusters": cluster_difference(mean.mean(axis=0), clusters),
    }
    found = Found(results)
    found.tables["edges.tsv"] = EDGE_COLUMNS, edge_rows(whole, study.genes, study.places, TOPS[1])
    found.tables["regulators.tsv"] = (
        ("gene", "condition", "received", "rank"),
        [(g, name, share, rank) for name, rows in drivers.items() for g, share, rank in rows],
    )
    found.tables["attention_clusters.tsv"] = (
        ("gene", "cluster"),
        list(zip(study.genes, (f"A{i + 1}" for i in clusters), strict=True)),
    )
    if len(maps) > 1:
        own = {
            n: edge_stability([m[i] for m in maps.values()], study.places)
            for i, n in enumerate(names)
        }
        results["stability"] = own
    if study.known:
        _factors(found, study, total, drivers)
    if study.sets:
        _enrich(found, study, whole, drivers, clusters)
    for model, one in maps.items():
        own = contrasts(dict(zip(names, one, strict=True)), study.reference)
        found.scores |= {("attention", model, name): scores for name, scores in own.items()}
    if len(maps) > 1:
        found.scores |= {("attention", "mean of models", name): s for name, s in whole.items()}
    bars = functools.partial(regulator_bars, drivers=drivers, factors=set(study.known or ()))
    all_genes = functools.partial(
        cluster_map, scores=mean.mean(axis=0), clusters=clusters, genes=study.genes,
        received=np.mean([total[name] for name in names], axis=0),
    )  # fmt: skip
    found.pictures.append(("regulators.png", "Genes that receive most attention", bars))
    found.pictures.append(("attention_clusters.png", "Genes clustered by attention", all_genes))
    for source in study.sources[:PICTURED]:
        found.pictures += _pictures(study, whole, source)
    return found


def _factors(found, study, total, drivers):
    """Whether factors are among the regulators, and which factors regulate these."""
    found.results["factors_among_regulators"] = {
        name: factors_among(one, study.genes, study.known) for name, one in total.items()
    }
    lists = {name: [row[0] for row in rows] for name, rows in drivers.items()}
    rows, number = behind(lists, study.known, study.genes)
    found.results["behind_regulators"] = summary(rows, number)
    found.tables["regulator_factors.tsv"] = set_table(rows)


def _enrich(found, study, whole, drivers, clusters):
    """The gene sets among each source's targets, the regulators, and the clusters of genes."""
    genes, k = np.array(study.genes, object), TOPS[1]
    lists = {
        f"{genes[s]}, top {k}, {name}": genes[targets(one, s, k)]
        for name, one in whole.items()
        for s in study.places
    }
    lists |= {f"regulators, {name}": [row[0] for row in rows] for name, rows in drivers.items()}
    lists |= {f"cluster A{i + 1}": genes[clusters == i] for i in range(clusters.max() + 1)}
    rows, number = enriched(lists, study.sets, study.genes)
    found.results["enrichment"] = summary(rows, number)
    found.tables["enrichment_attention.tsv"] = set_table(rows)


def summary(rows, tests):
    """What results.json says of `enriched`."""
    sure = [r for r in rows if r["p_bonferroni"] < 0.05]
    shown = [{k: v for k, v in r.items() if k != "genes"} for r in sure[:20]]
    return {"tests": tests, "significant": len(sure), "first": shown}


def set_table(rows):
    """`enriched` as columns and rows of a table, what overlaps by chance left out (p > .05)."""
    kept = [r for r in rows if r["p"] <= 0.05]
    return SET_COLUMNS, [(*(r[c] for c in SET_COLUMNS[:-1]), ",".join(r["genes"])) for r in kept]


def file_of(name):
    """A gene's or condition's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")


def _pictures(study, whole, source):
    """Heat map of ten and network of twenty of a source's targets."""
    genes, at = study.genes, study.place(source)
    z = {name: influence(one, at) for name, one in whole.items()}
    strong = np.max([z[name] for name in study.conditions], axis=0)
    strong[at] = -np.inf
    top = np.argsort(-strong, kind="stable")[:HEAT]
    values = np.array([[z[name][g] for name in z] for g in top])
    stem = file_of(source)
    heat = functools.partial(
        factor_heat_map, source=source, genes=[genes[g] for g in top], conditions=list(z), z=values
    )
    found = [(f"heat_{stem}.png", f"{source}: ten genes, all conditions", heat)]
    for name in study.conditions:
        one = whole[name]
        most = targets(one, at, STAR)
        among = [
            (i, j, float(one[a, b]))
            for i, a in enumerate(most)
            for j, b in enumerate(most)
            if i != j
        ]
        among = sorted(among, key=lambda row: -row[2])[:STAR]
        title = f"{source}, {name}: the {len(most)} genes that read it most"
        star = functools.partial(
            factor_network, title=title, source=source, targets=[genes[g] for g in most],
            strength=z[name][most], among=among,
        )  # fmt: skip
        found.append((f"network_{stem}_{file_of(name)}.png", title, star))
    return found
