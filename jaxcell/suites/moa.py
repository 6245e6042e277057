"""Drug mechanism of action: can a classifier name it for cells of drugs that it never saw?

Source: BMFM-RNA (2026), sections 2.7 and 4.5. n cells.
"""

import numpy as np

from jaxcell.evaluation import html, mechanism_figures, mechanisms
from jaxcell.evaluation import treated as cells_of
from jaxcell.evaluation.probes import Fold
from jaxcell.evaluation.seed_tables import gathered, mean_sd
from jaxcell.evaluation.winners import winner
from jaxcell.files import about
from jaxcell.suites import naming, vectors, views
from jaxcell.suites.planted_screen import planted_screen
from jaxcell.suites.suite import Part, Suite

SHUFFLED = "Shuffled mechanisms"
GENERATED = (
    " What is planted adds up in log space, which suits linear methods, and its default strength "
    "was set so that PCA scores about .88, as the paper's models do on sci-Plex: these figures "
    "tell methods apart on generated cells and say nothing about sci-Plex."
)
SCORES = {"auc": "AUC", "recall": "recall", "f1": "F1"}
BIOLOGY = {"nmi": "NMI", "ari": "ARI", "asw_label": "ASW", "avg_bio": "avgBIO"}


def arguments(p):
    """The suite's options; columns are sci-Plex's by default."""
    add = p.add_argument
    add("--planted", action="store_true", help="generated cells laid out as sci-Plex, no --data")
    add("--strength", type=float, default=0.6, help="of the planted mechanisms (0.6)")
    add("--counts", default="X", help="where the raw counts are: X, layers/NAME or raw")
    add("--cells", default="cell_type=A549", metavar="OBS=VALUE", help="these only; '' for all")
    add("--drug", default="product_name", metavar="OBS", help="whole drugs are held out")
    add("--mechanism", default="pathway_level_1", metavar="OBS", help="what is classified")
    add("--dose", default="dose", metavar="OBS", help="a number; its unit is --dose-unit")
    add("--dose-unit", default="nM", help=f"{', '.join(cells_of.UNITS)}; case matters: mM, not MM")
    add("--at", type=float, default=cells_of.AT, help="the dose whose cells count, in nM (10000)")
    add("--viability", default="viability", metavar="OBS", help="'' where a file has none")
    add("--below", type=float, default=cells_of.BELOW, help="viability must be less (0.85)")
    add("--vehicle", default="vehicle", metavar="OBS[=VALUE]", help="controls: true, or VALUE")
    add("--fewest-drugs", type=int, default=cells_of.FEWEST_DRUGS, help="of a mechanism (2)")
    add("--fewest-cells", type=int, default=cells_of.FEWEST_CELLS, help="of a mechanism (50)")
    add("--repeats", type=int, default=mechanisms.REPEATS, help="of the two halves, a seed (5)")
    add("--label-token", default="", help="a model's CLS token for labels, as <cls_0>")
    add("--train", metavar="FILE", help="counts that baselines …_inductive are fitted on")


def plan(asked):
    """A part for the cells, and one for each method and seed."""
    o = asked.options
    if o["repeats"] < 1:
        raise ValueError(f"repeats: found {o['repeats']}, expected 1 or more")
    if not 0 <= o["strength"] < np.inf:
        raise ValueError(f"strength: found {o['strength']}, expected 0 or more")
    adata = views.read(asked, lambda: planted_screen(strength=o["strength"]))
    where = views.source_of(asked)
    with about(where):
        kept = cells_of.treated(
            adata.obs, drug=o["drug"], mechanism=o["mechanism"], dose=o["dose"],
            viability=o["viability"] or None, vehicle=o["vehicle"], cells=o["cells"], at=o["at"],
            below=o["below"], unit=o["dose_unit"], fewest_drugs=o["fewest_drugs"],
            fewest_cells=o["fewest_cells"],
        )  # fmt: skip
    adata = adata[kept.keep].copy()
    shared = {"counts": o["counts"], "where": where}
    names = asked.baselines or views.fitting(views.BASELINES, adata)
    compared = views.views(asked, adata, names, o["label_token"], train=o["train"], **shared)
    [pca] = vectors.methods(_without(asked), adata, baselines=["pca"], **shared)
    naming.check_rows(asked.checkpoints, (SHUFFLED,))
    mark = {
        "cells": vectors.fingerprint(adata),
        "counts": o["counts"],
        "labels": views.digest(kept.drug, kept.mechanism),
        "repeats": o["repeats"],
    }
    parts = [Part("cells", "cells", {**mark, "dropped": kept.dropped}, lambda: _cells(kept))]
    for seed in range(asked.seeds):
        for method in compared:
            parts.append(_part(method, kept.mechanism, kept.drug, seed, o["repeats"], mark))
        chance = mechanisms.shuffled(kept.mechanism, kept.drug, seed)
        parts.append(_part(pca, chance, kept.drug, seed, o["repeats"], mark, SHUFFLED))
    return parts


def _without(asked):
    return type(asked)({}, (), asked.out)


def _part(method, mechanism, drug, seed, repeats, mark, name=""):
    kind = "reference" if name else method.kind
    name = name or method.name
    about = {"name": name, "kind": kind, "fitted": method.fitted, "parameters": method.parameters}

    def run():
        x = method.matrix(seed)
        folds = mechanisms.drug_folds(mechanism, drug, seed, repeats)
        leaky = mechanisms.classify(x, mechanism, _cell_folds(mechanism, seed))
        return {
            **about,
            "seed": seed,
            "dimensions": x.shape[1],
            "folds": mechanisms.classify(x, mechanism, folds),
            "cells_split_auc": float(np.mean([fold["auc"] for fold in leaky])),
            **mechanisms.biology(x, mechanism, seed),
        }

    whole = {**mark, "method": method.mark, "name": name, "seed": seed}
    return Part(naming.part_key(name, f"seed{seed}"), f"{name}, seed {seed}", whole, run)


def _cell_folds(mechanism, seed):
    """Two stratified halves of the cells, drugs on both sides: what the real folds prevent."""
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(2, shuffle=True, random_state=seed).split(mechanism, mechanism)
    return [Fold(f"cells, half {i}", *sides) for i, sides in enumerate(split, 1)]


def _cells(kept):
    sizes = {}
    for kind in np.unique(kept.mechanism):
        own = kept.drug[kept.mechanism == kind]
        sizes[str(kind)] = {"drugs": len(np.unique(own)), "cells": len(own)}
    return {"cells": len(kept.drug), "dropped": kept.dropped, "mechanisms": sizes}


def score_rows(results):
    """The rows of the main table."""
    rows = []
    for name, parts in gathered(results).items():
        folds = [fold for part in parts for fold in part["folds"]]
        row = {"name": name, "kind": parts[0]["kind"]}
        row["reference"] = row["kind"] == "reference"
        row |= {m: mean_sd([fold[m] for fold in folds]) for m in SCORES}
        row |= {m: mean_sd([part[m] for part in parts]) for m in BIOLOGY}
        row["leak"] = mean_sd([part["cells_split_auc"] for part in parts])
        row["dimensions"] = parts[0]["dimensions"]
        row["fitted"] = parts[0]["fitted"]
        row["converged"] = all(fold["converged"] for fold in folds)
        rows.append(row)
    return rows


def score_table(results):
    """The methods by all scores."""
    columns = [html.Column(m, header) for m, header in {**SCORES, **BIOLOGY}.items()]
    columns.append(html.Column("leak", "AUC, cells split", None))
    columns += [
        html.Column("dimensions", "dimensions", None),
        html.Column("fitted", "fitted on", None),
    ]
    seeds, repeats = results["meta"]["seeds"], results["meta"]["options"]["repeats"]
    rows = score_rows(results)
    note = (
        f"AUC (each mechanism against the rest), recall and F1: means over mechanisms, then over "
        f"{2 * repeats * seeds} halves of whole drugs ({repeats} × 2, {seeds} seeds); ± is the "
        "standard deviation over these halves, of the other columns over seeds. avgBIO: mean of "
        "NMI, ARI (Leiden, best of 20 resolutions) and ASW. **AUC, cells split**: the same "
        "classifier with cells of one drug on both sides; what it has above AUC is knowledge of "
        "drugs, not of mechanisms."
    )
    if lost := [row["name"] for row in rows if not row["converged"]]:
        note += f" Not converged in some halves: {', '.join(lost)}."
    return html.Table("Mechanism of action", columns, rows, note)


def mechanism_table(results):
    """AUC of each mechanism."""
    kinds = results["parts"]["cells"]["mechanisms"]
    rows = []
    for name, parts in gathered(results).items():
        folds = [fold["by_mechanism"] for part in parts for fold in part["folds"]]
        row = {kind: mean_sd([fold[kind] for fold in folds]) for kind in kinds}
        rows.append({"name": name, "reference": parts[0]["kind"] == "reference", **row})
    columns = [html.Column(kind, kind) for kind in kinds]
    return html.Table("AUC by mechanism", columns, rows, "± over the halves.")


def blocks(results):
    """The report."""
    cells, options = results["parts"]["cells"], results["meta"]["options"]
    drugs = sum(one["drugs"] for one in cells["mechanisms"].values())
    dropped = "; ".join(f"{n} {why}" for why, n in cells["dropped"].items())
    source = "**Generated cells** with planted mechanisms" if options["planted"] else "Cells"
    rows = [{"name": kind, **one} for kind, one in cells["mechanisms"].items()]
    sizes = [html.Column("drugs", "drugs", None), html.Column("cells", "cells", None)]
    return [
        html.Text(
            f"{source} treated with {drugs} drugs of {len(rows)} mechanisms: {cells['cells']} "
            f"cells at {options['at']:g} nM. A logistic regression on the cells of one half of the "
            f"drugs names the mechanism of the other half's. Left out: {dropped or 'none'}."
            f"{GENERATED if options['planted'] else ''}"
        ),
        html.Text(verdict(results)),
        score_table(results),
        html.Figure(
            "mechanisms",
            lambda path: mechanism_figures.scores_figure(path, _drawn(results)),
            "AUC, macro-F1 and avgBIO of each method; ticks: halves of drugs, or seeds.",
        ),
        mechanism_table(results),
        html.Figure(
            "by_mechanism",
            lambda path: mechanism_figures.mechanism_figure(path, mechanism_table(results).rows),
            "AUC of each mechanism and method.",
        ),
        html.Table("Cells", sizes, rows, name="mechanism"),
    ]


def _drawn(results):
    """{name: {kind, metric: values}} for the figure."""
    found = {}
    for name, parts in gathered(results).items():
        folds = [fold for part in parts for fold in part["folds"]]
        found[name] = {
            "kind": parts[0]["kind"],
            "AUC": [fold["auc"] for fold in folds],
            "F1": [fold["f1"] for fold in folds],
            "avgBIO": [part["avg_bio"] for part in parts],
        }
    return found


def verdict(results):
    """Who is ahead, models or baselines."""
    rows = score_rows(results)
    shown = {"auc": "AUC", "avg_bio": "avgBIO"}
    return " ".join(winner(rows, key, header) for key, header in shown.items())


def text(results):
    """The main table, and who is ahead."""
    return f"{html.plain_table(score_table(results))}\n\n{verdict(results)}"


SUITE = Suite(
    "Drug mechanism of action",
    "Mechanism of drugs that were never seen, by a classifier on cells' vectors (BMFM-RNA 4.5).",
    arguments,
    plan,
    blocks,
    text,
)
