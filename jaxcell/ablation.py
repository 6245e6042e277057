"""Ablations: a default arm and arms that differ from it in one thing, trained and measured alike.

``jaxcell ablate --suite txfm`` is TxFM's Table 5 a–g: losses, preprocessing, K, temperature,
decoder, activation and backbone, by perturbation consistency and by the relations that codebook and
decoder recall.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from jaxcell.arms import CUT, Bench, config_of
from jaxcell.evaluation import ablation_table
from jaxcell.models.cell import count_parameters
from jaxcell.suites import arms_of, base, suite
from jaxcell.training.metrics import replace

DATABASES = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")


@dataclass(frozen=True)
class Experiment:
    """What the arms are trained on and measured by.

    train : h5ad files of raw counts; drop : 'column=value' of obs that are left out of them
    perturbed : h5ad of raw counts; its obs[perturbation], of which ``control`` is unperturbed
    batch : obs columns, together a cell's batch; per_batch : score each batch on its own
    pairs : files of known relations
    """

    train: tuple
    perturbed: Path
    perturbation: str
    control: str
    batch: tuple
    pairs: tuple
    drop: tuple = ()
    per_batch: bool = False

    def check(self):
        """Raise FileNotFoundError for a file that is not there."""
        for path in (*self.train, self.perturbed, *self.pairs):
            if not Path(path).is_file():
                raise FileNotFoundError(
                    f"{path}: no such file (--data, or JAXCELL_DATA, names the suite's folder; "
                    "--train and the rest name files)"
                )


def txfm_data(folder):
    """The suite's real data in a folder laid out as JAXCELL_DATA: blood cells, and IFN-β.

    Trained on unstimulated PBMCs; the perturbation, its donors and their controls are unseen. One
    perturbation is too few for a proportion, so it is scored in each donor's cells of each type.
    """
    cells, efaar = Path(folder) / "single_cell", Path(folder) / "annotation" / "efaar"
    return Experiment(
        train=(
            cells / "pbmc_5batch_fullgenes.h5ad",
            cells / "pbmc_donorA_unlabelled_2896x13939_mudan.h5ad",
        ),
        drop=("batch=kang_ctrl", "batch=kang_stim"),
        perturbed=Path(folder) / "perturbation" / "kang_ifnb_2000x9015_donors.h5ad",
        perturbation="stim",
        control="ctrl",
        batch=("donor", "cell_type"),
        per_batch=True,
        pairs=tuple(efaar / f"{name}.txt" for name in DATABASES),
    )


def experiment_of(data=None, *, drop=(), per_batch=False, **named):
    """An experiment from a command's options: all of one's own files, or the suite's data.

    Raises
    ------
    ValueError
        When some of one's own are named and others are not, or nothing is.
    """
    given = {name: value for name, value in named.items() if value}
    if not given:
        alone = [n for n, there in (("--drop", drop), ("--per-batch", per_batch)) if there]
        if alone:
            raise ValueError(
                f"{', '.join(alone)} given: of one's own files only (--train and the rest); "
                "the suite's data have theirs"
            )
        data = data or os.environ.get("JAXCELL_DATA")
        if not data:
            raise ValueError(
                "no data: name --data FOLDER (or JAXCELL_DATA), or --train and the rest"
            )
        return txfm_data(data)
    missing = [f"--{name}" for name in named if name not in given]
    if missing or data:
        raise ValueError(
            f"--{', --'.join(given)} given: {'leave out --data' if data else ''}"
            f"{' and ' if data and missing else ''}"
            f"{'name ' + ', '.join(missing) + ' too' if missing else ''}"
        )
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return Experiment(drop=tuple(drop), per_batch=per_batch, **tuples)


def ablate(
    experiment, out, *, suite_name="txfm", budget="small", arms=(), steps=0, seeds=1, say=print
):
    """Train and measure the arms of a suite: ``jaxcell.ablate``.

    Goes on where it was stopped: an arm that is finished with the same config, data and measures is
    not run again. Every arm takes as many steps as the default.

    Parameters
    ----------
    experiment : Experiment, or a folder laid out as JAXCELL_DATA (`txfm_data`)
    out : folder: ``store``, ``arms/NAME`` (a workdir each), results.json, report.md
    suite_name : 'txfm'
    budget : 'small' (two CPU cores), 'medium' or 'large' (the paper's B)
    arms : names of arms, beside the default; all by default
    steps : of each arm; 0: the budget's
    seeds : training runs of each arm, from seed 0 on
    say : takes a line of progress

    Returns
    -------
    dict, as in results.json (without the draws of the bootstrap)

    Raises
    ------
    ValueError, FileNotFoundError
        About config, files or folder, before anything is trained.
    SystemExit
        When a run was stopped by SIGTERM or Ctrl-C; the same call goes on.
    """
    if not isinstance(experiment, Experiment):
        experiment = txfm_data(experiment)
    experiment.check()
    if seeds < 1:
        raise ValueError(f"seeds: found {seeds}, expected 1 or more")
    blocks = suite(suite_name, base(budget))
    chosen = arms_of(blocks, arms)
    bench = Bench(experiment, out)
    configs = {
        (name, seed): config_of(arm, budget, bench.store, steps, seed)
        for name, arm in chosen.items()
        for seed in range(seeds)
    }
    references = bench.references(base(budget).model.width)  # cheap: fails before the arms do
    found, began, ran = {name: {"runs": []} for name in chosen}, time.perf_counter(), 0
    for i, ((name, seed), c) in enumerate(configs.items(), 1):
        run, fresh = bench.run(name, seed, c)
        found[name]["runs"].append(run)
        found[name]["parameters"] = count_parameters(c.model)
        ran += fresh
        left = (len(configs) - i) * (time.perf_counter() - began) / max(ran, 1)
        what = f"{name} seed {seed}" if seeds > 1 else name
        before = "" if fresh else " (finished before)"
        say(f"[{i}/{len(configs)}] {what}: {_shown(run)}{before}; {left / 60:.0f} min left")
    results = {
        "meta": bench.meta()
        | {"suite": suite_name, "budget": budget, "seeds": seeds, "cut": CUT}
        | {"steps": c.steps, "batch_size": c.train.batch_size},
        "blocks": [
            {"title": title, "arms": [[arm.label, arm.name] for arm in block]}
            for title, block in blocks
        ],
        "arms": found,
        "references": references,
    }
    runs = [r for arm in found.values() for r in arm["runs"] if "failed" not in r]
    results["meta"]["scored"] = runs[0]["perts"]["scored"] if runs else 0
    results["verdicts"] = ablation_table.verdicts(found, results["meta"]["genes"])
    for run in runs:
        for metric in ("enc", "dec"):
            run[metric].pop("draws")
    replace(bench.out / "results.json", json.dumps(results, indent=1) + "\n")
    (bench.out / "report.md").write_text(ablation_table.page(results), encoding="utf-8")
    return results


def _shown(run):
    if "failed" in run:
        return run["failed"]
    score = 100 * run["perts"]["score"]
    recalls = (f"{m} {100 * run[m]['recall']:.1f}" for m in ("enc", "dec"))
    after = f", diverged at {run['diverged']}" if "diverged" in run else ""
    return f"perts {score:.1f} {' '.join(recalls)}, {run['seconds']:.0f} s{after}"
