"""The report on a disease's signature: which cluster of each method carries it."""

from functools import partial

from . import html
from .seed_tables import gathered, mean_sd
from .signature_figures import clusters_figure

COLUMNS = {
    "clusters": ("clusters", None),
    "times": ("found, of seeds", None),
    "cells": ("cells", None),
    "effect": ("effect", "high"),
    "q": ("q", None),
    "random_q": ("q, random genes", None),
    "diseased": ("diseased", None),
    "odds_ratio": ("odds ratio", None),
    "disease_q": ("q, disease", None),
}
TRUTH = {"jaccard": ("Jaccard", "high"), "ari": ("ARI", "high")}
WHOLE = ("clusters", "cells")
NOTE = (
    "The cluster whose score is above the rest's by both tests (q ≤ .05) and an **effect** of .7 "
    "or more (the probability that one of its cells scores higher than one of the rest, "
    "Mann–Whitney), of several the one of the largest. **q, random genes**: among 1 000 signatures "
    "of other genes at the same levels, those with as large an effect; a cluster differs from the "
    "rest in many genes, so that q alone is small for most signatures. **Diseased**: share of its "
    "cells; Fisher's exact test on cells, which takes those of one donor as independent. All q by "
    "Benjamini and Hochberg over the clusters; of several seeds the largest."
)


def carrier_table(results):
    """A row per method: the cluster that carries the signature."""
    methods = gathered(results)
    rows = [_row(name, parts) for name, parts in methods.items()]
    truth = TRUTH if any("jaccard" in row for row in rows) else {}
    columns = [
        html.Column(key, header, better, 0 if key in WHOLE else 3)
        for key, (header, better) in {**COLUMNS, **truth}.items()
    ]
    return html.Table("The cluster that carries the signature", columns, rows, NOTE)


def _row(name, parts):
    found = [part["rows"][part["carrier"]] for part in parts if part["carrier"] is not None]
    row = {
        "name": name,
        "reference": parts[0]["kind"] == "reference",
        "clusters": mean_sd([len(part["rows"]) for part in parts]),
        "times": f"{len(found)} of {len(parts)}",
    }
    if "jaccard" in parts[0]:
        row |= {key: mean_sd([part[key] for part in parts]) for key in TRUTH}
    if found:
        for key in ("cells", "effect", "diseased", "odds_ratio"):
            row[key] = mean_sd([one[key] for one in found])
        for key in ("q", "random_q", "disease_q"):
            row[key] = shown_p(max(one[key] for one in found))
    return row


def cluster_table(name, part):
    """A row per cluster of a method, of one seed."""
    rows = []
    for one in part["rows"]:
        own = f"{one['cluster']}" + (" (carries it)" if one["cluster"] == part["carrier"] else "")
        texts = {key: shown_p(one[key]) for key in ("q", "random_q", "disease_q")}
        rows.append({**one, "name": own, **texts})
    keys = ("cells", "score", "effect", "q", "random_q", "diseased", "odds_ratio", "disease_q")
    headers = {**COLUMNS, "score": ("score", None)}
    columns = [html.Column(key, headers[key][0], None) for key in keys]
    return html.Table(f"Clusters of {name}", columns, rows, name="cluster")


def shown_p(value):
    """A p or q as text: .012, 3e-12, or –."""
    if value is None or value >= 0.001:
        return html.shown(value)
    return f"{value:.0e}" if value > 0 else "< 1e-300"


def blocks(results):
    """The report."""
    cells = results["parts"]["cells"]
    found = [_about(cells, results["meta"]["options"]["planted"]), carrier_table(results)]
    found.append(html.Heading("By method"))
    for i, (name, parts) in enumerate(gathered(results).items()):
        if "layout" not in parts[0]:
            continue
        draw = partial(clusters_figure, name=name, part=parts[0], cells=cells)
        alt = f"{name}: cells by cluster, signature score and disease; scores by cluster."
        found += [html.Figure(f"clusters_{i}", draw, alt), cluster_table(name, parts[0])]
    return found


def _about(cells, planted):
    dropped = "; ".join(f"{n} {why}" for why, n in cells["dropped"].items()) or "none"
    absent = ", ".join(cells["absent"]) or "none"
    genes = "; ".join(f"{way} {', '.join(own)}" for way, own in cells["signature"].items() if own)
    source = "**Generated cells**, of which a cluster is planted" if planted else "Cells"
    return html.Text(
        f"{source}: {cells['cells']}, {cells['diseased']} of them diseased. Left out: {dropped}. "
        f"Signature: {genes}. Not among the file's genes: {absent}. A cell's score is the mean z "
        "of the genes that go up less that of those that go down."
    )
