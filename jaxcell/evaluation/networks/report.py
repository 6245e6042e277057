"""The folder of a study of gene networks: tables, pictures, results.json, report.md."""

import csv
import json

from jaxcell.evaluation.tables import markdown, number
from jaxcell.writing import filled_folder

KNOWN = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "auroc_by_source": "AUROC, mean over factors",
    "auroc_shuffled": "AUROC, targets shuffled",
}


def write_report(out, meta, found):
    """Write everything.

    Parameters
    ----------
    out : folder, made if absent
    meta : what was asked for and of what
    found : {'attention' | 'vectors' | 'known': Found}

    Returns
    -------
    dict, as in results.json
    """
    with filled_folder(out) as partial:
        figures = {}
        for route in found.values():
            for file, title, draw in route.pictures:
                draw(partial / file)
                figures[file] = title
            for file, (columns, rows) in route.tables.items():
                write_table(partial / file, columns, rows)
            for file, text in route.texts.items():
                (partial / file).write_text(text, encoding="utf-8")
        results = {"meta": {**meta, "figures": figures}}
        results |= {name: route.results for name, route in found.items()}
        (partial / "report.md").write_text(page(results), encoding="utf-8")
        text = json.dumps(results, indent=1, allow_nan=False) + "\n"
        (partial / "results.json").write_text(text, encoding="utf-8")
    return results


def write_table(path, columns, rows):
    """A tab-separated file with a header; numbers with six digits that count."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(columns)
        table.writerows([[_text(value) for value in row] for row in rows])


def _text(value):
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def page(results):
    """report.md."""
    meta = results["meta"]
    parts = [f"# Gene networks\n\n`{meta['data']}`, {meta['genes']} genes, by {meta['condition']}"]
    if "known" in results:
        parts += _known(results["known"])
    if "attention" in results:
        parts += _attention(results["attention"], meta)
    if "vectors" in results:
        parts += _vectors(results["vectors"], meta)
    parts += [f"![{title}]({file})" for file, title in meta["figures"].items()]
    parts += ["## How it was measured", _how(meta)]
    return "\n\n".join(parts) + "\n"


def known_rows(known):
    """Header and rows of the table of known targets."""
    header = ["scores", *KNOWN.values()]
    body = []
    for row in known["results"]:
        name = ", ".join(part for part in (row["method"], row["model"], row["condition"]) if part)
        texts = [number(row[k]) for k in KNOWN]
        texts[-1] += f" ± {number(row['auroc_shuffled_sd'])}"
        body.append([name, *texts])
    return header, body


def _known(known):
    if not known["pairs"]:
        return [
            "## Known targets\n\nNo known pair has both its genes here: nothing to compare with."
        ]
    head = (
        f"## Known targets\n\n{known['pairs']} known edges of {known['factors']} factors among "
        f"{known['candidates']} possible ones ({known['base_rate']:.1%}: what AUPRC is by chance)."
    )
    best = max(known["results"], key=lambda row: row["auroc"])
    name = " ".join(part for part in (best["method"], best["model"]) if part)
    said = f"The highest AUROC is that of {name}."
    return [head, markdown(*known_rows(known)), said]


def _attention(found, meta):
    cells = ", ".join(f"{name} {n}" for name, n in found["cells"].items())
    parts = [f"## Attention\n\nCells: {cells}."]
    rows = [[name, ", ".join(genes[:10])] for name, genes in found["regulators"].items()]
    parts += ["Genes that receive most attention:", markdown(["condition", "genes"], rows)]
    if "factors_among_regulators" in found:
        parts += _factors(found)
    if "stability" in found:
        parts += [_stability(found["stability"])]
    return parts + _enrichment(found)


def _factors(found):
    rows = [
        [name, str(one["factors"]), number(one["auroc"]), number(one["p"])]
        for name, one in found["factors_among_regulators"].items()
    ]
    parts = [
        "Whether factors receive more attention than other genes (Mann–Whitney, one-sided):",
        markdown(["condition", "factors", "AUROC", "p"], rows),
    ]
    one = found["behind_regulators"]
    behind = [
        [r["list"], r["set"], f"{r['overlap']} of {r['found']}", f"{r['p_bonferroni']:.1e}"]
        for r in one["first"]
    ]
    parts += [
        f"Factors whose known targets are among the regulators: {one['significant']} of"
        f" {one['tests']} tests are significant (hypergeometric, Bonferroni .05)."
    ]
    return parts + ([markdown(["regulators", "factor", "targets", "p"], behind)] if behind else [])


def _vectors(found, meta):
    n = len(found["programs"])
    parts = [
        f"## Gene vectors\n\n{n} programs of {meta['fewest']} genes or more at a resolution of "
        f"{meta['resolution']:g}, {found['edges_within_programs']} edges within them; "
        f"{found['pairs_above_generic_cut']} pairs of genes above a cosine of {meta['generic']}."
    ]
    if "stability" in found:
        parts += [_stability({"all cells": found["stability"]})]
    return parts + _enrichment(found)


def _stability(found):
    keys = [k for k in next(iter(found.values())) if k != "models"]
    rows = []
    for name, one in found.items():
        texts = [f"{number(one[k]['mean'])} ± {number(one[k]['sd'])}" for k in keys]
        chance = [f" ({number(one[k]['chance'])})" if "chance" in one[k] else "" for k in keys]
        rows.append([name, *(a + b for a, b in zip(texts, chance, strict=True))])
    models = next(iter(found.values()))["models"]
    head = f"Edges of {models} models compared, ± sd over pairs (by chance):"
    return f"{head}\n\n" + markdown(["", *keys], rows)


def _enrichment(found):
    if "enrichment" not in found:
        return []
    one = found["enrichment"]
    head = (
        f"{one['significant']} of {one['tests']} tests of gene sets are significant "
        "(hypergeometric, Bonferroni .05)."
    )
    rows = [[r["list"], r["set"], f"{r['overlap']} of {r['found']}", f"{r['p_bonferroni']:.1e}"]
            for r in one["first"]]  # fmt: skip
    return [head, markdown(["genes", "set", "overlap", "p"], rows)] if rows else [head]


def _how(meta):
    block = "the last block" if meta["layer"] is None else f"block {meta['layer']}"
    lines = [
        f"- Models: {', '.join(meta['models'])}. Route: {meta['route']}. Seed {meta['seed']}.",
        f"- Each cell shows the same {meta['genes']} genes, zeros included, in one order; "
        f"attention of {block}, between genes; measure: {meta['measure']}.",
        "- Ranks: within each head rows, then columns, are replaced by ranks over M (ties share "
        "their mean); mean over heads, then over cells. An edge goes from the gene that is read "
        "(column) to the one that reads it (row).",
        "- Regulators: softmax attention received from other genes, over the mean over genes; "
        "ranked columns all add up to the same and cannot tell.",
        "- z: over the targets of a source. Differences: condition less the reference.",
        "- Co-expression: Pearson's correlation of normalised, logged counts; it has no direction, "
        "and no model. Shuffled: each factor's known targets drawn anew, 20 times.",
    ]
    return "\n".join(lines)


def format_network(results):
    """The table of known targets, or what was found, as plain text for the end of a run."""
    known = results.get("known")
    if known and known["pairs"]:
        header, body = known_rows(known)
        width = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
        lines = [
            "  ".join([r[0].ljust(width[0]), *map(str.rjust, r[1:], width[1:])])
            for r in [header, *body]
        ]
        lines.insert(1, "─" * len(lines[0]))
        return "\n".join(lines)
    lines = []
    for name, genes in results.get("attention", {}).get("regulators", {}).items():
        lines.append(f"regulators, {name}: {', '.join(genes[:10])}")
    if "vectors" in results:
        lines.append(f"programs: {len(results['vectors']['programs'])}")
    return "\n".join(lines)
