"""``jaxcell benchmark annotation``: labels of unseen batches, from frozen vectors and fine-tuned.

n cells, d features. Sources: TxFM, B.2.3 (probes); BMFM-RNA, 2.6 (fine-tuning).
"""

import dataclasses
import hashlib

import numpy as np

from jaxcell.evaluation.intervals import bootstrap
from jaxcell.evaluation.probes import score
from jaxcell.evaluation.trained_probes import RATES, WIDTHS, Split, Training, batch_split, fit_probe
from jaxcell.suites import finetuning
from jaxcell.suites.annotation_report import blocks, text
from jaxcell.suites.labelled_cells import cell_arguments, methods_of, read_cells
from jaxcell.suites.naming import check_rows, part_key
from jaxcell.suites.suite import Part, Suite

BASELINES = ("log", "hvg2000", "pca")
LINEAR, MLP = "linear probe", "MLP probe"
LARGEST, SHUFFLED = "Largest class", "Shuffled labels"


def arguments(p):
    """The suite's own options."""
    cell_arguments(p)
    p.add_argument(
        "--rates", nargs="+", type=float, default=RATES, help="learning rates of the probes"
    )
    p.add_argument("--widths", nargs="+", type=int, default=WIDTHS, help="hidden layers of the MLP")
    p.add_argument("--dropout", type=float, default=0.1, help="behind each of them")
    p.add_argument("--no-finetune", action="store_true", help="probes alone")
    p.add_argument("--epochs", type=int, default=4, help="of fine-tuning")
    p.add_argument("--batch-size", type=int, default=64, help="cells of a step of fine-tuning")
    p.add_argument(
        "--finetune-rates",
        nargs="+",
        type=float,
        default=finetuning.Adapting.rates,
        help="of fine-tuning: multiples of the checkpoint's own learning rate",
    )


def plan(asked):
    """The parts: probes of each method, runs of each checkpoint, chance; each for each seed."""
    o = asked.options
    _check(o)
    cells = read_cells(asked.data, o)
    splits = {s: batch_split(cells.labels, cells.batch, s) for s in range(asked.seeds)}
    methods = methods_of(asked, cells, BASELINES)
    check_rows(asked.checkpoints, (LARGEST, *(f"{SHUFFLED}, {m.name}" for m in methods)))
    how = finetuning.Adapting(o["epochs"], o["batch_size"], tuple(o["finetune_rates"]))
    kinds = () if o["no_finetune"] else tuple(finetuning.KINDS)
    for name, path in asked.checkpoints.items() if kinds else ():
        finetuning.check(name, path, kinds, how, cells.batch, cells.adata.obs)
    training = {"linear": Training(), "mlp": _mlp(o)}
    parts = []
    for seed, split in splits.items():
        parts.append(_chance(methods[-1], cells, split, seed, tuple(o["rates"])))
        for method in methods:
            parts.append(_probes(method, cells, split, seed, training, tuple(o["rates"])))
        for method in methods[: len(asked.checkpoints)]:
            path = asked.checkpoints[method.name]
            for kind in kinds:
                parts.append(_finetuned(asked, method, path, kind, cells, split, seed, how))
    return parts


def _mlp(o):
    return Training(widths=tuple(o["widths"]), dropout=o["dropout"])


def _check(o):
    many = ("rates", "widths", "finetune_rates")
    for name, ok, expected in (
        *((n, o[n] and min(o[n]) > 0, "above 0, one at least") for n in many),
        ("dropout", 0 <= o["dropout"] < 1, "0 <= dropout < 1"),
        ("epochs", o["epochs"] > 0, "1 or more"),
        ("batch_size", o["batch_size"] > 0, "1 or more"),
    ):
        if not ok:
            raise ValueError(f"{name}: found {o[name]}, expected {expected}")


def _probes(method, cells, split, seed, training, rates):
    """Both probes of a method's vectors."""
    how = {name: dataclasses.asdict(one) for name, one in training.items()}
    mark = [cells.mark, method.mark, seed, how, rates]

    def run():
        x, rows = np.asarray(method.matrix(seed), np.float32), []
        for name, one in zip((LINEAR, MLP), training.values(), strict=True):
            found = fit_probe(x, cells.labels, split, rates=rates, seed=seed, training=one)
            more = {"rate": found.rate, "epochs": found.epochs, "grid": found.grid}
            row = _row(method.name, name, method.kind, cells, split, seed, found.predictions)
            rows.append(row | more | {"dimensions": x.shape[1], "fitted": method.fitted})
        return {"rows": rows}

    return Part(part_key(method.name, "probes", f"seed{seed}"), f"{method.name}, probes", mark, run)


def _chance(method, cells, split, seed, rates):
    """What no reading of the vectors is needed for: the largest class, and shuffled labels."""
    mark = [cells.mark, method.mark, seed, rates]

    def run():
        rng, labels = np.random.default_rng(seed), cells.labels.copy()
        names, counts = np.unique(labels[split.train], return_counts=True)
        most = np.full(len(split.test), names[counts.argmax()])
        known = np.concatenate([split.train, split.valid])
        labels[known] = rng.permutation(labels[known])
        x = np.asarray(method.matrix(seed), np.float32)
        drawn = fit_probe(x, labels, split, rates=rates, seed=seed).predictions
        named = ((LARGEST, "", most), (f"{SHUFFLED}, {method.name}", LINEAR, drawn))
        return {
            "rows": [_row(n, how, "reference", cells, split, seed, said) for n, how, said in named]
        }

    return Part(part_key("chance", f"seed{seed}"), "chance", mark, run)


def _finetuned(asked, method, path, kind, cells, split, seed, how):
    """A checkpoint trained on the training cells' labels."""
    o, name = asked.options, finetuning.KINDS[kind][0]
    mark = [cells.mark, method.mark, seed, kind, dataclasses.asdict(how)]
    short = hashlib.sha256(repr(mark).encode()).hexdigest()[:8]
    workdir = asked.out / "runs" / f"{part_key(method.name, kind, f'seed{seed}')}-{short}"

    def run():
        said, rate = finetuning.predictions(
            path,
            kind,
            cells.adata,
            cells.labels,
            cells.batch,
            split,
            how,
            seed=seed,
            workdir=workdir,
            options={"allow_non_integer": o["allow_non_integer"]},
        )
        row = _row(method.name, name, method.kind, cells, split, seed, said)
        more = {"fitted": method.fitted, "run": workdir.name, "rate": rate}
        return {"rows": [row | more]}

    return Part(part_key(method.name, kind, f"seed{seed}"), f"{method.name}, {name}", mark, run)


def _row(name, how, kind, cells, split: Split, seed, predictions):
    """Scores of predictions for the test cells, and what they were scored on."""
    truth, known = cells.labels[split.test], set(cells.labels[split.train].tolist())
    accuracy, f1 = score(truth, predictions)
    ends = bootstrap(truth, predictions, seed=seed)
    taken, cells_ = np.unique(np.stack([truth, predictions]), axis=1, return_counts=True)
    return {
        "name": name,
        "how": how,
        "kind": kind,
        "seed": seed,
        "accuracy": accuracy,
        "macro_f1": f1,
        "accuracy_interval": ends["accuracy"],
        "macro_f1_interval": ends["macro_f1"],
        "absent": sorted(set(truth.tolist()) - known),
        "absent_cells": int((~np.isin(truth, list(known))).sum()),
        "held_out": list(split.held_out),
        "protocol": split.protocol,
        "sizes": [len(split.train), len(split.valid), len(split.test)],
        "confusion": {"true": taken[0].tolist(), "predicted": taken[1].tolist(),
                      "cells": cells_.tolist()},
    }  # fmt: skip


SUITE = Suite(
    "Annotation of unseen batches",
    "cell types of held-out batches: linear and MLP probes of frozen vectors, fine-tuning, LoRA",
    arguments,
    plan,
    blocks,
    text,
)
