"""The suite `cells`: many data sets by scIB's and cz-benchmarks' protocols, one verdict."""

import base64
import re
import zlib
from dataclasses import replace

import numpy as np

from jaxcell.evaluation import cz_protocol, intervals, probes, scib_protocol
from jaxcell.files import about
from jaxcell.suites import cells_report
from jaxcell.suites.cell_sets import read_sets
from jaxcell.suites.naming import check_rows, part_key
from jaxcell.suites.suite import Part, Suite
from jaxcell.suites.vectors import Method, methods

COMPONENTS = (10, 20, 50, 100)
BASELINES = ("raw", "log", "hvg2000", "pca", "ridge", "ae")
SHUFFLED = "Shuffled labels"
VERSION = 1  # of what a part computes
NEED_BATCHES = ("harmony", "scvi")


def arguments(p):
    """The suite's own options."""
    p.add_argument(
        "--cells", type=int, default=scib_protocol.CELLS, metavar="N",
        help="most cells of a subsample, one per seed; 10000",
    )  # fmt: skip
    p.add_argument(
        "--components", type=int, nargs="+", default=COMPONENTS, metavar="K",
        help="sizes of the baseline pca: 10 20 50 100",
    )  # fmt: skip
    p.add_argument("--tissue", metavar="COLUMN", help="of obs: cz-benchmarks' tables by tissue")
    p.add_argument(
        "--allow-non-integer", action="store_true", help="counts of files may be fractions"
    )


def plan(asked):
    """A part per data set, method and seed, and one for each data set's facts."""
    options = asked.options
    if options["cells"] < 50:
        raise ValueError(f"--cells: found {options['cells']}, expected 50 or more")
    if min(options["components"]) < 1:
        raise ValueError(f"--components: found {options['components']}, expected 1 or more")
    sets = read_sets(asked.data, options["tissue"], options["allow_non_integer"])
    parts = []
    for cells in sets:
        mark, dropped = cells.mark, _dropped(asked, cells)
        compared = _methods(asked, cells, dropped)
        parts.append(_facts(cells, mark, dropped))
        for method in compared:
            for seed in range(asked.seeds):
                parts.append(_part(cells, method, seed, options["cells"], mark))
    return parts


def _dropped(asked, cells):
    """Baselines that are asked for and need batches, which these cells lack."""
    asked_for = dict.fromkeys(asked.baselines or BASELINES)
    dropped = [short for short in asked_for if short in NEED_BATCHES and cells.batch is None]
    if len(dropped) == len(asked_for) and not asked.checkpoints:
        raise ValueError(
            f"{cells.source.path}: nothing to compare: {', '.join(dropped)} need two batches or"
            " more, found one; expected other baselines or checkpoints, or FILE:LABEL:BATCH"
        )
    return dropped


def _facts(cells, mark, dropped):
    mark = [VERSION, mark, dropped]
    return Part(
        part_key(cells.name, "set"), cells.name, mark, lambda: cells.facts() | {"dropped": dropped}
    )


def _part(cells, method, seed, most, mark):
    return Part(
        part_key(cells.name, method.name, seed),
        f"{cells.name}: {method.name}, seed {seed}",
        [VERSION, mark, method.mark, method.name, most, seed],
        lambda: measure(cells, method, seed, most),
    )


def _methods(asked, cells, dropped):
    """Models, baselines and the reference of one data set; without the baselines dropped."""
    wanted = []
    for short in asked.baselines or BASELINES:
        if short == "pca":
            wanted += [f"pca{k}" for k in asked.options["components"]]
        elif short not in dropped:
            wanted.append(short)
    genes = cells.adata.n_vars
    hvg = {s: re.fullmatch(r"hvg(\d+)", s) for s in wanted}
    whole = {s: "log" for s, found in hvg.items() if found and int(found[1]) >= genes}
    with about(cells.source.path):
        made = methods(
            asked, cells.adata, batch=cells.batch,
            baselines=[*(s for s in wanted if s not in whole), *whole.values(), "pca"],
            allow_non_integer=cells.source.allow_non_integer, where=cells.source.path,
        )  # fmt: skip
    views = {short: f"(Lib+Log)Norm + {short[3:]} HVG" for short in whole}
    check_rows(asked.checkpoints, (SHUFFLED, *views.values()))
    by_name = {method.name: method for method in made}
    for name in views.values():  # nothing to choose: that view is all genes
        by_name[name] = replace(by_name["(Lib+Log)Norm"], name=name)
    pca = by_name.pop("PCA (transductive)")
    if "log" in whole.values() and "log" not in wanted:
        by_name.pop("(Lib+Log)Norm")
    shuffled = Method(SHUFFLED, "reference", pca.fitted, [pca.mark, "shuffled"], pca.matrix)
    return [*by_name.values(), shuffled]


def measure(cells, method, seed, most):
    """One method on one data set by one seed.

    Probes and cz-benchmarks' scores are computed by the first seed, and by others where they
    differ: another subsample, other folds, other vectors or, of the reference, other labels.

    cells : CellSet; method : Method; most : cells of the subsample -> JSON
    """
    x, labels = method.matrix(seed), cells.labels
    if not np.isfinite(x).all():
        raise ValueError(f"{method.name}: NaN or infinite vectors of {cells.name}")
    if method.kind == "reference":
        labels = np.random.default_rng(seed).permutation(labels)
    before = cells.before(cells.adata.X, most, seed)
    found = {
        "dataset": cells.name,
        "method": method.name,
        "seed": seed,
        "kind": method.kind,
        "fitted": method.fitted,
        "dimensions": x.shape[1],
        "parameters": method.parameters,
        "scib": scib_protocol.scib_scores(
            x, labels, cells.batch, cells=most, seed=seed, before=before
        ),
    }
    drawn = method.seeded or method.kind == "reference" or len(x) > most or cells.batch is None
    if seed == 0 or drawn:
        own = scib_protocol.subsample(len(x), most, seed)
        batch = None if cells.batch is None else cells.batch[own]
        found["probes"] = probed(x[own], labels[own], batch, seed)
    if seed == 0:
        found["cz"] = {
            name: cz_protocol.cz_scores(*_some(x[own], labels[own], most, seed))
            for name, own in cells.tissues().items()
        }
    return found


def _some(x, labels, most, seed):
    own = scib_protocol.subsample(len(x), most, seed)
    return x[own], labels[own]


def probed(x, labels, batch, seed):
    """Logistic regression and kNN on cells that they have not seen; whole batches where possible.

    x [n, d], labels, batch str [n] -> JSON: pooled scores, means over folds, bootstrap intervals
    of the pooled ones, and the predictions (`cells_found.unpack`).
    """
    folds, protocol = probes.folds(labels, batch, seed=seed)
    scores, predictions = probes.predict_all([probes.Vectors(x)], labels, folds)
    truth = np.concatenate([labels[fold.test] for fold in folds])
    said = {kind: np.concatenate([one[kind] for one in predictions]) for kind in probes.KINDS}
    names = np.unique(labels)
    return {
        "protocol": protocol,
        "scores": probes.pooled(labels, folds, predictions) | probes.averages(scores),
        "intervals": {
            kind: intervals.bootstrap(truth, one, seed=seed) for kind, one in said.items()
        },
        "predictions": {
            kind: pack(one, names) for kind, one in (("truth", truth), *said.items())
        },
    }  # fmt: skip


def pack(names, classes):
    """Names as text: their places among the sorted classes, compressed."""
    codes = np.searchsorted(classes, names).astype("<i2")
    return base64.b64encode(zlib.compress(codes.tobytes(), 9)).decode()


SUITE = Suite(
    title="Cells: many data sets, one verdict",
    about="scIB's and cz-benchmarks' protocols over many data sets: clustering, batch integration,"
    " classification; mean ranks and paired tests. --data FILE[:LABEL[:BATCH]] each, or a folder"
    " like JAXCELL_DATA",
    arguments=arguments,
    plan=plan,
    blocks=cells_report.blocks,
    text=cells_report.text,
)
