"""What the report of the suite txfm says beside its tables: of cells, who wins, what is lost."""

from jaxcell.evaluation import winners
from jaxcell.evaluation.perturbed_cells import tasks as measured
from jaxcell.evaluation.perturbed_cells.postprocessing import FEWEST_CONTROLS
from jaxcell.evaluation.perturbed_cells.recall import FEWEST_RELATIONS

ACROSS = ("lin", "knn")  # tasks that judge cells by those of other batches


def describe(facts):
    """What was measured on, and what could not be."""
    said = (
        f"{facts['cells']} cells ({facts['left_out']} left out: perturbation or batch unknown) × "
        f"{facts['genes']} genes, {facts['perturbations']} perturbations, {facts['controls']} "
        f"controls, {facts['batches']} batches ({' × '.join(facts['batch'])}). "
    )
    if facts["by"]:
        said += f"Consistency is scored in each {' × '.join(facts['by'])}. "
    if facts["log_values"]:
        said += "Its values are log-normalised: no model of counts embeds them. "
    if facts["few_controls"]:
        said += (
            f"{len(facts['few_controls'])} batches have fewer than {FEWEST_CONTROLS} controls: "
            "all controls' mean and sd are taken there. "
        )
    if facts["pairs"]:
        pairs = ", ".join(f"{name} {n}" for name, n in facts["pairs"].items())
        said += f"Known relations between single perturbed genes: {pairs}. "
    else:
        said += "bmdb is not defined: no database has "
        said += f"{FEWEST_RELATIONS} known relations between single perturbed genes. "
    if facts["few_pairs"]:
        few = ", ".join(f"{name} {n}" for name, n in facts["few_pairs"].items())
        said += f"Too few for a recall: {few}. "
    if facts["batches"] < 2:
        said += "One batch: ilisi, lin and knn are not defined. "
    return said.strip()


def winner(rows):
    """Who has the highest average, models or baselines: a sentence.

    rows : {method: {'kind', 'row': `aggregate.row`, …}}, those of blocks left out
    """
    found = [
        {"name": name, "kind": one["kind"], "avg": (one["row"]["avg"] or {}).get("mean")}
        for name, one in rows.items()
    ]
    return winners.winner(found, "avg", "avg") or "No method has an average."


def tasks(rows):
    """Note: which tasks were not scored and why, and which the seeds change."""
    own = [one for one in rows.values() if not one["reference"]]  # the shuffle always varies
    every = [m for one in own for seeds in one["tried"].values() for m in seeds]
    said = [
        f"{task} is not defined: no cells of two perturbations can be judged on other batches that "
        "hold their own perturbation and another."
        for task in ACROSS
        if every and not any(metrics[f"{task}_scored"] for metrics in every)
    ]
    if max((len(s) for one in own for s in one["tried"].values()), default=0) > 1:
        changed = [
            task
            for task in measured.TASKS
            if any(one["row"][task] and one["row"][task]["sd"] is not None for one in own)
        ]
        said.append(f"The seeds change {', '.join(changed) or 'no task'} here.")
    return " ".join(said)


def metrics(rows):
    """Note: the share of the cells that lin and knn scored, and where a classifier stopped early.

    The share is that of the methods, whose labels are one; of shuffled labels it may be another.
    """
    said = []
    for task in ACROSS:
        shares = [
            metrics[f"{task}_scored"]
            for one in rows.values()
            if not one["reference"]
            for seeds in one["tried"].values()
            for metrics in seeds
        ]
        if shares:
            low, high = (f"{100 * share:.1f}" for share in (min(shares), max(shares)))
            said.append(
                f"{task} scores {low if low == high else f'{low} to {high}'} % of the cells"
            )
    note = f"{'; '.join(said)}. " if said else ""
    stopped = [
        f"{name} ({', '.join(kinds)})" for name, one in rows.items() if (kinds := _stopped(one))
    ]
    if stopped:
        note += f"The classifier of lin had not converged: {'; '.join(stopped)}."
    return note.strip()


def _stopped(one):
    return [
        kind
        for kind, seeds in one["tried"].items()
        if not all(metrics["lin_converged"] for metrics in seeds)
    ]
