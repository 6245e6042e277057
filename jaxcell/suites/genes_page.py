"""The report of the suite ``genes``: pure functions of its results."""

import re

from jaxcell.evaluation import gene_figures, gene_map, gene_report, gene_table, html
from jaxcell.evaluation.winners import winner

TITLES = {"raw": "vectors as they are", "best": "at the best PCA size of each step"}


def blocks(results):
    """Blocks of the report."""
    found, out = _grouped(results, "recall"), []
    final, references = _final(found), _references(found)
    rows = {name: gene_table.together(runs) for name, runs in final.items()}
    tables = gene_table.recall_tables(rows, references)
    out += [html.Heading("Known relations recalled"), html.Text(_verdict(found, tables)), *tables]
    out += [html.Text(how(results)), *_sweeps(rows, results)]
    out += _while_training(found, rows)
    out += _statistics(_grouped(results, "statistics"))
    return out + _maps(_grouped(results, "map"))


def text(results):
    """The table of recall, for the end of a run."""
    found = _grouped(results, "recall")
    rows = {name: gene_table.together(runs) for name, runs in _final(found).items()}
    tables = gene_table.recall_tables(rows, _references(found))
    return "\n\n".join([html.plain_table(tables[0]), _verdict(found, tables), how(results)])


def _verdict(found, tables):
    """Who is ahead; vectors of a file count as a baseline."""
    rows = []
    for row in tables[0].rows:
        kind = found[row["name"]][0]["kind"]
        known = ("model", "reference")
        rows.append({**row, "kind": kind if kind in known else "baseline"})
    return winner(rows, "best", "Recall at the best PCA size, %", digits=1)


def _grouped(results, what):
    """{row of the tables: [{model, seed, step, kind, genes, …}, …]} of the parts of a kind."""
    found = {}
    for part in results["parts"].values():
        if part["part"] != what:
            continue
        about = {key: value for key, value in part.items() if key != "vectors"}
        for key, one in part["vectors"].items():
            name = f"{part['model']} {key}".strip()
            found.setdefault(name, []).append({**about, "found": one, **one})
    return found


def _final(found):
    """Without the steps of a training."""
    kept = {name: [run for run in runs if run["step"] is None] for name, runs in found.items()}
    return {name: runs for name, runs in kept.items() if runs}


def _references(found):
    return {name for name, runs in found.items() if runs[0]["kind"] == "reference"}


def how(results):
    """What the numbers are, in a few sentences."""
    options = results["meta"]["options"]
    run = next(iter(_grouped(results, "recall").values()))[0]
    known = ", ".join(f"{n} {d['found']} of {d['pairs']}" for n, d in run["databases"].items())
    part = f"{options['share']:.0%}"
    top = options["sides"] == "top"
    ends = f"the {part} most similar" if top else f"the {part} most or the {part} least similar"
    chance = options["share"] * (1 if top else 2)
    return (
        f"Percent of the known pairs ({known}) that are among {ends}"
        f" pairs of the {run['genes']} genes that all vectors have; vectors are centred and"
        f" compared by cosine; chance is {chance:.0%}. ± over training seeds where there are"
        " several (checkpoints called NAME-seed0, NAME-seed1 …; baselines by --seeds), else of a"
        " bootstrap over genes. n, the PCA size of the highest mean, is chosen on the pairs it is"
        " reported on, as in the paper. Random vectors of TxFM's table recall 4.9: the upper end."
    )


def _panels(rows):
    databases = next(iter(rows.values()))["raw"]
    return {
        d: "mean over databases" if d == gene_report.MEAN else d for d in _mean_first(databases)
    }


def _mean_first(databases):
    return sorted(databases, key=lambda d: d != gene_report.MEAN)


def _stem(text):
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _sweeps(rows, results):
    """Recall against the PCA size, a figure for each database."""
    table = {
        name: {
            "dimensions": row["dimensions"],
            "pca": row["pca"],
            "raw": {"recall": {d: value for d, (value, _) in row["raw"].items()}},
        }
        for name, row in rows.items()
    }
    return [
        html.Figure(
            f"recall_{_stem(d)}",
            lambda path, d=d: gene_report.recall_figure(path, {"results": table}, d),
            f"Recall against the PCA size: {title}",
        )
        for d, title in _panels(rows).items()
    ]


def _while_training(found, rows):
    steps = {name: [run for run in runs if run["step"] is not None] for name, runs in found.items()}
    steps = {name: runs for name, runs in steps.items() if runs}
    if not steps:
        return []
    curves = {name: gene_table.curves(runs) for name, runs in steps.items()}
    out = [html.Heading("While training")]
    for which, title in TITLES.items():
        levels = {
            name: {d: 100 * value for d, (value, _) in row[which].items()}
            for name, row in rows.items()
            if name not in steps
        }
        drawn = {name: one[which] for name, one in curves.items()}
        out.append(
            html.Figure(
                f"epochs_{which}",
                lambda path, t=title, c=drawn, v=levels: gene_figures.epochs_figure(
                    path,
                    f"Known relations recalled while training: {t}",
                    c,
                    v,
                    _panels(rows),
                    _references(found),
                ),
                f"Recall at each kept step, {title}; dashed: vectors without steps",
            )
        )
    return out


def _statistics(found):
    if not found:
        return []
    by_scale = {
        name: {scale: [run["found"][scale] for run in runs] for scale in runs[0]["found"]}
        for name, runs in found.items()
    }
    one = next(iter(next(iter(by_scale.values())).values()))[0]
    shuffles = len(one["vectors"]["joint"]["null"])
    out = [html.Heading("Mean and variance of the counts in the vectors")]
    out += gene_table.statistics_tables(by_scale)
    out.append(
        html.Text(
            "R² of least squares between the vectors' principal components and the genes' mean and"
            f" variance over the cells, against {shuffles}"
            " shuffles of the vectors; TxFM's A.5 can be read both ways. Only where the statistics"
            " explain the components can the joint fit exceed each alone (gain). log: logarithms of"
            " the counts' moments; normalised: moments of (Lib+Log)Norm counts. p: the highest of"
            " the row's; ± over seeds, of shuffles over all of them."
        )
    )
    shown = {name: runs[0]["found"] for name, runs in found.items() if runs[0]["kind"] == "model"}
    for name, scales in (shown or {n: r[0]["found"] for n, r in found.items()}).items():
        title = f"{name}: mean and variance of the counts (log)"
        out.append(
            html.Figure(
                f"statistics_{_stem(name)}",
                lambda path, t=title, f=scales["log"]: gene_figures.statistics_figure(path, t, f),
                f"{title}; grey: {name} shuffled",
            )
        )
    return out


def _maps(found):
    if not found:
        return []
    columns = [html.Column("agreement", "same type"), html.Column("chance", "chance", None)]
    rows = [
        {"name": name, **{c.key: runs[0][c.key] for c in columns}} for name, runs in found.items()
    ]
    note = (
        "Share of markers whose most similar marker (cosine) is one of the same cell type. Markers:"
        " the first 9 genes of each of the 8 most frequent types by t-test (scanpy's"
        " rank_genes_groups); one of several types counts for the most frequent of them."
    )
    out = [html.Heading("Markers of cell types"), html.Table("Markers", columns, rows, note)]
    for name, runs in found.items():
        one = runs[0]
        caption = (
            f"the most similar other marker is of the same type for {one['agreement']:.0%} of the"
            f" markers; chance {one['chance']:.0%}"
        )
        out.append(
            html.Figure(
                f"markers_{_stem(name)}",
                lambda path, n=name, o=one, c=caption: gene_map.marker_figure(
                    path, n, o["places"], o["markers"], caption=c
                ),
                f"UMAP of {name}, markers of the most frequent cell types",
            )
        )
    return out
