"""Suite ``network``: gene networks of attention and gene vectors beside what is known.

Sources: BioFormers 3.4, scGPT's tutorials (SYSTEMS.md, G). Everything is `jaxcell.network`, over
training seeds; what is here puts its folder into one report.
"""

import functools
from pathlib import Path

from jaxcell.evaluation import html
from jaxcell.evaluation.networks.blocks import known_table, network_blocks, verdict
from jaxcell.networks import network
from jaxcell.suites import network_models as models
from jaxcell.suites.perturbation_models import short_hash
from jaxcell.suites.suite import Part, Suite
from jaxcell.training.checkpoint import load_model

STEPS = 300
FEWEST = 3  # models of other seeds, so that stability is told by three pairs or more


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
        workdir = asked.out / "runs" / short_hash(mark) / f"seed{seed}"

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
    meta = {**found["meta"], "models": list(called.values())}
    if "known" not in found or not found["known"]["pairs"]:
        return {**found, "meta": meta}
    rows = [{**row, "model": called.get(row["model"], row["model"])}
            for row in found["known"]["results"]]  # fmt: skip
    return {**found, "meta": meta, "known": {**found["known"], "results": rows}}


def blocks(results):
    """The report: known targets, stability, regulators, gene sets, figures; what was trained."""
    folder = Path(results["meta"]["out"]) / "network"
    made = network_blocks(results["parts"]["network"]["network"], folder)
    trained = {k: v for k, v in results["parts"].items() if k != "network"}
    return made + ([_trained_table(trained)] if trained else [])


def text(results):
    """The table of known targets and what it says, for the end of a run."""
    found = results["parts"]["network"]["network"]
    said = "\n".join(verdict(found)).replace("**", "")
    if not found.get("known", {}).get("pairs"):
        return said
    return f"{html.plain_table(known_table(found['known']))}\n\n{said}"


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
