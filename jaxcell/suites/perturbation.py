"""Suite ``perturbation``: held-out perturbations by our models, other tools' files and baselines.

Sources: scFormer 4.3 and A.1, BioFormers 3.3, GEARS' simulation split (SYSTEMS.md, F).
"""

from jaxcell.evaluation.perturbation import baselines as simple
from jaxcell.evaluation.perturbation import over_seeds, splits
from jaxcell.evaluation.perturbation.files import read_predictions
from jaxcell.evaluation.perturbation.names import add_layout
from jaxcell.evaluation.perturbation.task import predicted
from jaxcell.progress import bar
from jaxcell.suites import perturbation_models as models
from jaxcell.suites.naming import check_rows, part_key
from jaxcell.suites.perturbation_cases import cases_of
from jaxcell.suites.suite import Part, Suite
from jaxcell.suites.vectors import fingerprint
from jaxcell.training.checkpoint import load_model

STEPS = 300  # of each training run: minutes on two cores
SEEDED = ("mlp", "shuffled")
KINDS = tuple(kind for kind in splits.KINDS if kind != "list")


def arguments(p):
    """Options of the suite."""
    p.add_argument(
        "--models",
        nargs="*",
        default=tuple(models.FAMILIES),
        choices=tuple(models.FAMILIES),
        help="trained here, each by its variants; both by default",
    )
    p.add_argument(
        "--size",
        default="small",
        choices=models.SIZES,
        help="small: 2 blocks × 64, two cores; paper: the published sizes, for a GPU",
    )
    p.add_argument("--steps", type=int, default=STEPS, help=f"of each training run; {STEPS}")
    p.add_argument("--kind", default="", choices=("", *KINDS), help="of the split; simulation")
    p.add_argument(
        "--predictions",
        nargs="+",
        default=(),
        metavar="NAME=FILE",
        help="h5ad with obs['condition'] and predicted log-normalised expression in X",
    )
    add_layout(p)


def plan(asked):
    """Parts: of each case its baselines, its files of predictions, and a run a model and seed."""
    options = asked.options
    if options["steps"] < models.LOOKS:
        raise ValueError(f"steps: found {options['steps']}, expected {models.LOOKS} or more")
    if unknown := [name for name in options["models"] if name not in models.FAMILIES]:
        known = ", ".join(models.FAMILIES)
        raise ValueError(f"models: found {unknown[0]!r}, expected some of {known}")
    cases = cases_of(asked)
    files = _files(options["predictions"])
    for case in cases:
        _ = case.task  # reads and checks it
    if not any(case.genes for case in cases) and asked.checkpoints:
        raise ValueError(
            "checkpoint: the conditions are treatments, of which no model is told; leave "
            "--checkpoint out"
        )
    if len(cases) > 1 and files:
        raise ValueError("predictions: of one file of cells, expected it by --data FILE")
    if options["size"] not in models.SIZES:
        raise ValueError(f"size: found {options['size']!r}, expected small or paper")
    rows, ours = models.trained(options["models"], options["size"]), {}
    notes = {case.name: [] for case in cases}
    for name, path in asked.checkpoints.items():
        model = load_model(path)
        if not model.config.data.pair.label:
            rows.append(models.fine_tuned(name, path, model))
            continue
        ours[name] = (path, model.sha256)
        for case in (case for case in cases if case.genes):
            said = models.check_pairs(name, path, model, case)
            notes[case.name] += [said] if said else []
    taken = [*simple.BASELINES, *(row.name for row in rows)]
    check_rows(files, taken, "predictions")
    check_rows(asked.checkpoints, [*taken, *files])
    parts = []
    for i, case in enumerate(cases):
        parts.append(_baselines(i, case, asked, notes[case.name]))
        parts += [_file(i, case, name, path) for name, path in files.items()]
        if case.genes:
            parts += [_asked(i, case, name, *one) for name, one in ours.items()]
            for row in models.distinct(rows, case, options["steps"]):
                parts += [_run(i, case, row, asked, seed) for seed in range(asked.seeds)]
    return parts


def _files(given):
    """{name: path} of NAME=FILE."""
    pairs = [text.partition("=")[::2] for text in given]
    if len({name for name, _ in pairs}) < len(pairs) or any(not all(pair) for pair in pairs):
        raise ValueError(f"predictions: found {list(given)}, expected NAME=FILE, each name once")
    return dict(pairs)


def _key(i, *parts):
    return part_key(f"case{i}", *parts)


def _result(case, name, kind, seed, said, facts=None):
    """A run's result as `over_seeds` takes it."""
    task = case.task
    if task.ranked is None:
        task.rank()
    genes = case.data.genes
    deltas = {
        condition: (true.tolist(), predicted.tolist(), [str(genes[g]) for g in top])
        for condition, (true, predicted, top) in task.deltas(said).items()
    }
    return {
        "method": name,
        "kind": kind,
        "seed": seed,
        "scores": task.scores(said.means),
        "cells": task.cell_scores(said) if case.split.kind == "cells" else None,
        "deltas": deltas,
        "facts": facts,
    }


def _baselines(i, case, asked, notes):
    names = simple.chosen(asked.baselines, case.split)
    mark = {"case": case.hash, "baselines": names, "seeds": asked.seeds, "notes": notes}

    def run():
        runs, task, before = [], case.task, len(case.task.notes)
        no_bar = bar(0, "", shown=False)  # the runner has one
        for seed in range(asked.seeds):
            own = [name for name in names if name in SEEDED or not seed]
            said = predicted(task, {}, own, bool(asked.baselines), seed, no_bar)
            runs += [_result(case, n, kind, seed, one) for n, (kind, one) in said.items()]
        told = dict.fromkeys(task.notes[:before] + task.notes[before:])
        case_said = {"name": case.name, "about": case.about(), "groups": task.groups}
        return {"case": {**case_said, "notes": [*notes, *case.notes(), *told]}, "runs": runs}

    return Part(_key(i, "baselines"), f"{case.name}: baselines", mark, run)


def _file(i, case, name, path):
    tested = case.task.rows if case.split.kind == "cells" else None
    task = case.task
    said = read_predictions(
        path, case.data, list(task.asked), task.control, name=name, tested=tested
    )
    mark = {"case": case.hash, "file": fingerprint(path)}
    return Part(
        _key(i, "file", name), f"{case.name}: {name}", mark,
        lambda: {"runs": [_result(case, name, "prediction", 0, said)]},
    )  # fmt: skip


def _asked(i, case, name, path, sha256):
    mark = {"case": case.hash, "checkpoint": sha256}

    def run():
        means = models.predicted(case, path, 0)
        facts = {"how": "as it was given"}
        return {"runs": [_result(case, name, "prediction", 0, simple.Predictions(means), facts)]}

    return Part(_key(i, "checkpoint", name), f"{case.name}: {name}", mark, run)


def _run(i, case, row, asked, seed):
    c = models.ready(case, row, asked.options["steps"], seed)
    mark = {"case": case.hash, "config": models.fields_of(c), "from": row.mark}
    key = _key(i, row.stem, f"seed{seed}")

    def run():
        workdir = asked.out / "runs" / f"{key}-{models.short_hash(mark)}"
        means, facts = models.run(case, row, c, workdir)
        said = simple.Predictions(means)
        return {"runs": [_result(case, row.name, "prediction", seed, said, facts)]}

    return Part(key, f"{case.name}: {row.name}, seed {seed}", mark, run)


def _cases(results):
    """(case, its runs) of the results, models first."""
    for key, part in results["parts"].items():
        if "case" in part:
            own = key.partition(".")[0]
            runs = [
                run
                for other, one in results["parts"].items()
                if other.partition(".")[0] == own
                for run in one["runs"]
            ]
            yield part["case"], sorted(runs, key=lambda run: run["kind"] != "prediction")


def blocks(results):
    """The report: of each case its verdict, tables and figures."""
    found = [
        block for case, runs in _cases(results) for block in over_seeds.case_blocks(case, runs)
    ]
    return [*found, *over_seeds.how_blocks()]


def text(results):
    """Tables and verdicts for the end of a run."""
    return "\n\n".join(over_seeds.case_text(case, runs) for case, runs in _cases(results))


SUITE = Suite(
    title="Held-out perturbations",
    about="perturbed cells: models trained here, files of predictions, simple baselines",
    arguments=arguments,
    plan=plan,
    blocks=blocks,
    text=text,
)
