"""``jaxcell benchmark transductive``: a model trained on the evaluated cells, no label among them.

From scratch and from its checkpoint, whole batches held out for validation. Source: TxFM, A.1.1
and Table 3. n cells.
"""

import hashlib
import shutil

import anndata
import numpy as np

from jaxcell import config
from jaxcell.embedding import embed
from jaxcell.evaluation.protocols import scformer_scores
from jaxcell.evaluation.trained_probes import batch_split, fit_probe
from jaxcell.suites import finetuning
from jaxcell.suites.labelled_cells import cell_arguments, methods_of, read_cells
from jaxcell.suites.naming import part_key
from jaxcell.suites.runs import train
from jaxcell.suites.suite import Part, Suite
from jaxcell.suites.transductive_report import blocks, text
from jaxcell.training import run_file
from jaxcell.training.checkpoint import load_model

BASELINES = ("log", "pca")
STARTS = ("scratch", "warm")
KEPT = ("step", "train/loss", "val/loss", "val/mean_predictor", "val/perfect", "learning_rate")


def arguments(p):
    """The suite's own options."""
    cell_arguments(p)
    p.add_argument("--epochs", type=int, default=200, help="of training; 200 by default")
    p.add_argument("--genes", type=int, default=2048, help="K, shown of each cell in training")
    p.add_argument("--batch-size", type=int, default=0, help="0: as the checkpoint was trained")


def plan(asked):
    """The parts: runs of each checkpoint from both starts, frozen models and baselines beside."""
    o = asked.options
    for name, least in (("epochs", 1), ("genes", 1), ("batch_size", 0)):
        if o[name] < least:
            raise ValueError(f"{name}: found {o[name]}, expected {least} or more")
    if not asked.checkpoints:
        raise ValueError("checkpoint: found none, expected one at least, whose config is trained")
    cells = read_cells(asked.data, o)
    if cells.batch is None or len(np.unique(cells.batch)) < 2:
        raise ValueError(
            f"{cells.path}: batch: expected a column of two batches or more, to hold out whole ones"
        )
    for name, path in asked.checkpoints.items():
        _check(name, path, o, cells)
    methods = methods_of(asked, cells, BASELINES)
    parts = []
    for seed in range(asked.seeds):
        split = batch_split(cells.labels, cells.batch, seed)
        parts += [_vectors(method, cells, split, seed) for method in methods]
        for method in methods[: len(asked.checkpoints)]:
            path = asked.checkpoints[method.name]
            parts += [_trained(asked, method, path, s, cells, split, seed) for s in STARTS]
    return parts


def _config(model, path, start, o, seed):
    """The checkpoint's config without labels, and where it starts."""
    c = finetuning.new_run(model, seed)
    c.labels, c.ontology.labels, c.best = (), (), ("val/loss", "min")
    c.name = f"{c.name}_{start}"
    config.tokeniser(c.data).number = o["genes"]
    c.train.batch_size = o["batch_size"] or c.train.batch_size
    c.train.init_from, c.epochs = str(path) if start == "warm" else "", o["epochs"]
    config.check(config.settled(c))
    return c


def _check(name, path, o, cells):
    """Refuse a checkpoint that cannot be trained on these cells."""
    try:
        c = _config(load_model(path), path, "warm", o, 0)
        if not c.losses:
            raise ValueError("its losses are of labels alone")
        for label in finetuning.labels_read(c):
            if label not in cells.adata.obs and label != c.batch:
                raise ValueError(f"obs has no column {label!r}, which the model reads")
    except ValueError as error:
        raise ValueError(f"checkpoint {name}: {error}") from None


def _vectors(method, cells, split, seed):
    """A baseline, or a checkpoint as it is."""
    mark = [cells.mark, method.mark, seed]

    def run():
        name = f"{method.name}, as it is" if method.kind == "model" else method.name
        return {"row": _row(name, method.kind, method.matrix(seed), cells, split, seed)}

    return Part(part_key(method.name, "as_it_is", f"seed{seed}"), method.name, mark, run)


def _trained(asked, method, path, start, cells, split, seed):
    """A model trained on the cells of all batches but those held out for validation."""
    o = asked.options
    how = {name: o[name] for name in ("epochs", "genes", "batch_size")}
    mark = [cells.mark, method.mark, seed, start, how]
    short = hashlib.sha256(repr(mark).encode()).hexdigest()[:8]
    workdir = asked.out / "runs" / f"{part_key(method.name, start, f'seed{seed}')}-{short}"

    def run():
        model = load_model(path)
        c = _config(model, path, start, o, seed)
        obs = finetuning.obs_of(cells.adata.obs, cells.batch, c)
        own = anndata.AnnData(cells.adata.X, obs=obs, var=cells.adata.var)
        held = np.isin(np.arange(len(obs)), split.test)
        allow = {"allow_non_integer": o["allow_non_integer"]}
        read, where = finetuning.labels_read(c), workdir / "store"
        c.data.store = str(finetuning.store_of(where, own, held, read, model, seed, **allow).path)
        train(c, workdir / "run")
        embed(own, workdir / "run", key="X", progress=False, **allow)
        row = _row(f"{method.name}, {start}", method.kind, own.obsm["X"], cells, split, seed)
        found = {"row": row, "curve": _curve(workdir / "run")}
        shutil.rmtree(workdir / "store")
        shutil.rmtree(workdir / "run" / "checkpoints")
        return found

    return Part(part_key(method.name, start, f"seed{seed}"), f"{method.name}, {start}", mark, run)


def _curve(run):
    """What a figure of the run needs, of run.json and metrics.jsonl."""
    info = run_file.read(run)
    c, lines = info["config"], [line for _, line in run_file.journal(run)]
    fields = {"best": c["best"], "train": {"batch_size": c["train"]["batch_size"]}}
    said = {"config": fields, "data": {"content_hash": info["data"]["content_hash"]}}
    return {"info": said, "lines": [{k: li[k] for k in KEPT if k in li} for li in lines]}


def _row(name, kind, x, cells, split, seed):
    """Scores of some vectors: of all cells, and of a probe on the batches held out."""
    x = np.asarray(x, np.float32)
    probe = fit_probe(x, cells.labels, split, seed=seed)
    found = scformer_scores(x, cells.labels, cells.batch, seed)
    names = ("avg_bio", "avg_batch", "overall")
    return {
        **{"name": name, "kind": kind, "seed": seed, "held_out": list(split.held_out)},
        **{"accuracy": probe.accuracy, "macro_f1": probe.macro_f1, "dimensions": x.shape[1]},
        **{key: found[key] for key in names},
    }


SUITE = Suite(
    "Trained on the evaluated cells",
    "a checkpoint's model trained on the evaluated cells, from scratch and warm, beside PCA",
    arguments,
    plan,
    blocks,
    text,
)
