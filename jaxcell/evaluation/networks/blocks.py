"""The report of a study of gene networks as blocks: known targets, stability, regulators, sets.

``results`` are those of `jaxcell.network`.
"""

import functools
import shutil
from pathlib import Path

from jaxcell.evaluation import html

REFERENCES = ("random",)
MEAN = "mean of models"
FIGURES = 12  # of the report; the folder has all


def network_blocks(found, folder):
    """Blocks of a report; folder: where the pictures of the study are."""
    meta = found["meta"]
    about = (
        f"`{meta['data']}`, {meta['genes']} genes, conditions {', '.join(meta['conditions'])} of"
        f" obs[{meta['condition']!r}]; {len(meta['models'])} models. Factors:"
        f" {', '.join(meta['sources'][:12])}{' …' if len(meta['sources']) > 12 else ''}."
    )
    made = [html.Heading("Known targets"), html.Text(about), *map(html.Text, verdict(found))]
    made += [known_table(found["known"])] if found.get("known", {}).get("pairs") else []
    made += [html.Heading("Stability over training seeds"), _stability_table(found)]
    made += [html.Heading("Key regulators"), *_regulators(found)]
    made += [html.Heading("Gene sets"), *_sets(found)]
    made += [html.Heading("Figures"), *_figures(meta, Path(folder))]
    return made


def known_table(known):
    """AUROC and AUPRC of every way to score edges, as `html.Table`."""
    columns = [html.Column("auroc", "AUROC"), html.Column("auprc", "AUPRC")]
    columns += [html.Column("auroc_by_source", "AUROC, mean over factors")]
    columns += [html.Column("auroc_shuffled", "AUROC, targets shuffled", None)]
    rows = [
        {
            **row,
            "name": ", ".join(p for p in (row["method"], row["model"], row["condition"]) if p),
            "auroc_shuffled": (row["auroc_shuffled"], row["auroc_shuffled_sd"]),
            "reference": row["method"] in REFERENCES,
        }
        for row in known["results"]
    ]
    note = (
        f"{known['pairs']} known edges of {known['factors']} factors among {known['candidates']}"
        f" possible ones ({100 * known['base_rate']:.1f} %: AUPRC by chance). Shuffled: each"
        " factor's targets drawn anew, mean and sd of 20 draws."
    )
    return html.Table("AUROC of known targets", columns, rows, note, name="scores")


def verdict(found):
    """Who finds known targets best, and whether that is more than shuffled targets give."""
    known = found.get("known")
    if not known or not known["pairs"]:
        return ["No known pair has both its genes here: nothing to compare with."]
    best, several = {}, len(found["meta"]["models"]) > 1
    for row in known["results"]:
        # The best of many seeds would be chosen by what is measured: their mean stands for them.
        if row["method"] not in REFERENCES and row["model"] in (
            "",
            MEAN if several else row["model"],
        ):
            best.setdefault(row["method"], row)
            best[row["method"]] = max(best[row["method"]], row, key=lambda r: r["auroc"])
    said = []
    for method, row in best.items():
        where = ", ".join(p for p in (row["model"], row["condition"]) if p)
        sd = row["auroc_shuffled_sd"]
        above = (row["auroc"] - row["auroc_shuffled"]) / sd if sd else float("inf")
        said.append(
            f"{method}{f' ({where})' if where else ''}: AUROC {row['auroc']:.3f},"
            f" {above:.1f} sd above its shuffled targets"
        )
    ours = max((row["auroc"] for m, row in best.items() if m != "co-expression"), default=0.0)
    wins = best["co-expression"]["auroc"] >= ours
    lead = "**Co-expression, which needs no model, wins.** " if wins else ""
    return [f"{lead}The best of each kind: {'; '.join(said)}."]


def _stability_table(found):
    rows, keys = [], {}
    attention = found.get("attention", {}).get("stability", {})
    vectors = found.get("vectors", {}).get("stability")
    every = {f"attention, {name}": one for name, one in attention.items()}
    every |= {"vectors": vectors} if vectors else {}
    for name, one in every.items():
        row = {"name": name}
        for key in (k for k in one if k != "models"):
            keys[key] = key.replace("jaccard_", "Jaccard of the top ")
            row[key] = (one[key]["mean"], one[key]["sd"])
            if "chance" in one[key]:
                keys[f"{key}_chance"] = "by chance"
                row[f"{key}_chance"] = one[key]["chance"]
        rows.append(row)
    columns = [html.Column(key, header, None) for key, header in keys.items()]
    note = "Edges of the factors, pair by pair of models; ± sd over pairs."
    return html.Table("Stability of edges", columns, rows, note, name="edges")


def _regulators(found):
    attention = found["attention"]
    rows = [
        {"name": name, "genes": ", ".join(genes[:10])}
        for name, genes in attention["regulators"].items()
    ]
    made = [html.Table("Genes that receive most attention", [html.Column("genes", "genes", None)],
                       rows, name="condition")]  # fmt: skip
    if "factors_among_regulators" not in attention:
        return made
    columns = [html.Column("factors", "factors among the genes", None)]
    columns += [html.Column("auroc", "AUROC", None), html.Column("p", "p", None)]
    rows = [{"name": n, **one} for n, one in attention["factors_among_regulators"].items()]
    made += [html.Table("Do factors receive more attention than other genes?", columns, rows,
                        "Mann–Whitney, one-sided.", name="condition")]  # fmt: skip
    one = attention["behind_regulators"]
    title = "Factors whose known targets are among the regulators"
    return [*made, _enriched(title, one, "factor")]


def _sets(found):
    made = []
    for route, title in (("attention", "by attention"), ("vectors", "by gene vectors")):
        if "enrichment" in found.get(route, {}):
            one = found[route]["enrichment"]
            made.append(_enriched(f"Gene sets among genes {title}", one, "set"))
    return made or [html.Text("No gene sets were given.")]


def _enriched(title, one, what):
    columns = [html.Column("set", what, None), html.Column("overlap", "overlap", None)]
    columns += [html.Column("fold", "fold", None, 1), html.Column("p", "p (Bonferroni)", None)]
    rows = [
        {
            "name": r["list"],
            "set": r["set"],
            "overlap": f"{r['overlap']} of {r['found']}",
            "fold": r["fold"],
            "p": f"{r['p_bonferroni']:.1e}",
        }
        for r in one["first"]
    ]
    note = f"{one['significant']} of {one['tests']} tests significant (hypergeometric, .05)."
    return html.Table(title, columns, rows, note, name="genes")


def _figures(meta, folder):
    """Those of all genes first; of single factors as many as there is room for."""
    single = [file for file in meta["figures"] if file.startswith(("heat_", "network_"))]
    files = [*(file for file in meta["figures"] if file not in single), *single][:FIGURES]
    return [
        html.Figure(Path(file).stem, functools.partial(_copy, folder / file), meta["figures"][file])
        for file in files
    ]


def _copy(source, path):
    shutil.copyfile(source, path)
