"""Suite ``network``: gene networks of attention and gene vectors beside what is known.

Sources: BioFormers 3.4, scGPT's tutorials (SYSTEMS.md, G). Everything is `jaxcell.network`, over
training seeds; what is here puts its folder into one report.
"""

import functools
import json
import shutil
from pathlib import Path

from jaxcell.evaluation import html
from jaxcell.networks import network
from jaxcell.suites import network_models as models
from jaxcell.suites.perturbation_models import short_hash
from jaxcell.suites.suite import Part, Suite
from jaxcell.training.checkpoint import load_model

STEPS = 300
FEWEST = 3  # models of other seeds, so that stability is told by three pairs or more
REFERENCES = ("random",)
FIGURES = 12  # of the report; the folder has all


def arguments(p):
    """Options of the suite."""
    add = p.add_argument
    add("--planted", action="store_true", help="a planted network in place of data")
    add("--model", default="bioformers", choices=tuple(models.SYSTEMS), help="trained here, where "
        "no checkpoint is given")  # fmt: skip
    add("--steps", type=int, default=STEPS, help=f"of each training run; {STEPS}")
    add("--condition", default="", metavar="OBS", help="whose values are compared")
    add("--reference", default="", metavar="VALUE", help="that others are compared with")
    add("--label", default="", metavar="OBS", help="cell types, whose markers are on the map")
    add("--tf", nargs="+", default=(), metavar="NAME", help="factors to look at")
    add("--known", default="", metavar="TSV", help="known targets: tf, target")
    add("--levels", default="", metavar="ABC", help="of the column confidence of --known")
    add("--sets", default="", metavar="GMT", help="gene sets")
    add("--number", type=int, default=300, help="of most variable genes; 300")
    add("--cells", type=int, default=0, metavar="N", help="of each condition at most; 0: all")
    add("--resolution", type=float, default=5.0, help="of Leiden, for programs; 5")


def plan(asked):
    """Parts: a training run a seed, where no checkpoint is given, and the network of them."""
    o = asked.options
    if asked.baselines:
        raise ValueError(
            "baselines: co-expression and random scores always stand beside; name none"
        )
    if o["steps"] < 4 or o["number"] < 20 or o["cells"] < 0:
        raise ValueError(
            f"steps, number, cells: found {o['steps']}, {o['number']}, {o['cells']}, expected at"
            " least 4, 20 and 0"
        )
    if o["planted"]:
        if asked.checkpoints or asked.data:
            raise ValueError("planted: is in place of --data, and trains models of its own genes")
        return _planted(asked)
    cells = models.cells_of(asked)
    cells.check()
    if asked.checkpoints:
        if len(asked.checkpoints) < FEWEST:
            raise ValueError(
                f"checkpoint: found {len(asked.checkpoints)}, expected {FEWEST} or more, of other"
                " training seeds: stability is told over them; without any, models are trained here"
            )
        marks = [load_model(path).sha256 for path in asked.checkpoints.values()]
        return [_network(asked, cells, dict(asked.checkpoints), marks, {})]
    budget = models.Budget(o["steps"])
    parts, runs, marks = _training(asked, cells, cells.genes, budget, cells.hash)
    return [*parts, _network(asked, cells, runs, marks, {"genes": cells.genes}, parts)]


def _planted(asked):
    budget = models.PLANTED
    if asked.options["steps"] != STEPS:
        budget = models.Budget(asked.options["steps"], budget.batch, budget.fields)
    folder, (_, genes, _) = asked.out / "planted", models.planted_names()
    cells = functools.cache(lambda: models.planted(folder))  # made when it is first needed
    parts, runs, marks = _training(asked, cells, genes, budget, "planted")
    return [*parts, _network(asked, cells, runs, marks, {"cells": 150, "resolution": 1.0}, parts)]


def _training(asked, cells, genes, budget, what):
    """Parts that train a model a seed; {name: workdir}; what their results hang on."""
    if asked.seeds < FEWEST:
        raise ValueError(
            f"seeds: found {asked.seeds}, expected {FEWEST} or more: stability is told over them"
        )
    system, parts, runs, marks = asked.options["model"], [], {}, []
    for seed in range(asked.seeds):
        c = models.ready(system, len(genes), budget, seed)
        mark = {"cells": what, "genes": genes, "config": models.fields_of(c)}
        workdir = asked.out / "runs" / f"seed{seed}-{short_hash(mark)}"

        def run(c=c, workdir=workdir):
            own = cells() if callable(cells) else cells
            return models.train(own, genes, c, workdir, asked.out)

        title = f"{models.SYSTEMS[system][0]}, seed {seed}"
        parts.append(Part(f"seed{seed}", title, mark, run))
        runs[f"seed {seed}"] = workdir
        marks.append(mark)
    return parts, runs, marks


def _network(asked, cells, runs, marks, how, trained=()):
    o = asked.options
    how = {"cells": o["cells"] or None, "resolution": o["resolution"], **how}
    what = "planted" if callable(cells) else cells.hash
    mark = {"cells": what, "models": marks, "number": o["number"], **how}

    def run():
        for part, workdir in zip(trained, runs.values(), strict=False):
            if not (Path(workdir) / "model").is_dir():
                part.run()  # its result was kept and its folder was not
        own = cells() if callable(cells) else cells
        found = network(
            own.path, list(map(str, runs.values())), condition=own.condition,
            reference=own.reference, label=own.label, tf=own.tf, known=own.known,
            levels=own.levels, sets=own.sets, number=o["number"], out=asked.out / "network",
            progress=False, **how,
        )  # fmt: skip
        called = dict(zip(found["meta"]["models"], runs, strict=True))
        return {"network": _renamed(found, called)}

    return Part("network", "gene networks", mark, run)


def _renamed(found, called):
    """The results with models as the tables call them: 'seed 0' for its folder's name."""
    text = json.dumps(found)
    for name, shown in called.items():
        text = text.replace(json.dumps(name), json.dumps(shown))
    return json.loads(text)


def blocks(results):
    """The report: known targets, regulators, stability, gene sets, figures."""
    found = results["parts"]["network"]["network"]
    meta = found["meta"]
    about = (
        f"`{meta['data']}`, {meta['genes']} genes, conditions {', '.join(meta['conditions'])} of"
        f" obs[{meta['condition']!r}]; {len(meta['models'])} models. Factors:"
        f" {', '.join(meta['sources'][:12])}{' …' if len(meta['sources']) > 12 else ''}."
    )
    made = [html.Heading("Known targets"), html.Text(about), *map(html.Text, _verdict(found))]
    made += [_known_table(found["known"])] if found.get("known", {}).get("pairs") else []
    made += [html.Heading("Stability over training seeds"), _stability_table(found)]
    made += [html.Heading("Key regulators"), *_regulators(found)]
    made += [html.Heading("Gene sets"), *_sets(found)]
    made += [html.Heading("Figures"), *_figures(meta, results["meta"]["out"])]
    trained = {k: v for k, v in results["parts"].items() if k != "network"}
    return made + ([_trained_table(trained)] if trained else [])


def text(results):
    """The table of known targets and what it says, for the end of a run."""
    found = results["parts"]["network"]["network"]
    if not found.get("known", {}).get("pairs"):
        return "\n".join(_verdict(found))
    return "\n\n".join(
        [html.plain_table(_known_table(found["known"])), "\n".join(_verdict(found))]
    ).replace("**", "")


def _known_table(known):
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


def _verdict(found):
    """Who finds known targets best, and whether that is more than shuffled targets give."""
    known = found.get("known")
    if not known or not known["pairs"]:
        return ["No known pair has both its genes here: nothing to compare with."]
    best = {}
    for row in known["results"]:
        if row["method"] not in REFERENCES:
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


def _figures(meta, out):
    folder = Path(out) / "network"
    return [
        html.Figure(Path(file).stem, functools.partial(_copy, folder / file), title)
        for file, title in list(meta["figures"].items())[:FIGURES]
    ]


def _copy(source, path):
    shutil.copyfile(source, path)


def _trained_table(trained):
    columns = [html.Column("parameters", "parameters", None), html.Column("steps", "steps", None)]
    columns += [html.Column("seconds", "seconds", None, 0)]
    columns += [html.Column("val_loss", "validation loss", None)]
    rows = [{"name": name, **one} for name, one in trained.items()]
    return html.Table("Models trained here", columns, rows, name="model")


SUITE = Suite(
    title="Gene networks",
    about="gene networks by attention and gene vectors beside known targets and co-expression",
    arguments=arguments,
    plan=plan,
    blocks=blocks,
    text=text,
)
