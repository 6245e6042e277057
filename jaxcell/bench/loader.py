"""How fast cells come off the disk and through TxFM-B's pipeline here, beside other loaders.

    python -m jaxcell.bench.loader --out DIR [--data FILE.h5ad] [--cells 20000 --genes 20000]

Reads the same cells of the same file in the same run: jaxcell from the store that it prepares of
it, the others (`jaxcell.bench.peers`; ``pip install 'jaxcell[bench]'``) from the h5ad itself. The
sides take turns; each figure is the median over the repetitions. Cells a second of one core count
processor time (of all threads), so that a busy machine changes them little; those of the machine
count the clock. DIR gets loader.json and loader.png, the terminal a table.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell import config
from jaxcell.bench.peers import PEERS
from jaxcell.data.draft import Draft
from jaxcell.data.mixture import Permutations
from jaxcell.data.pipeline import Batches, iterate
from jaxcell.data.prepare import prepare
from jaxcell.data.records import decode_batch
from jaxcell.data.transforms import build_transforms, panel

GPUS = 8
PAPER_RATE = 92  # cells a second of one GPU: 200 epochs of 1.434M cells in 864 H100-hours
PIPELINE = "pipeline"


def synthetic(path, cells, genes, compression=None, nonzero=2000, seed=0):
    """Write an h5ad of Poisson counts [cells, genes], about ``nonzero`` of them > 0 in a cell."""
    random = np.random.default_rng(seed)
    rates = random.lognormal(0, 2, genes)
    low, high = 0.0, 1e6  # the depth that gives so many genes, by bisection
    for _ in range(60):
        depth = (low + high) / 2
        found = -np.expm1(-depth * rates / rates.sum()).sum()
        low, high = (depth, high) if found < min(nonzero, genes // 2) else (low, depth)
    parts = []
    for start in range(0, cells, 1000):
        shape = (min(1000, cells - start), genes)
        parts.append(sp.csr_matrix(random.poisson(depth * rates / rates.sum(), shape), dtype="f4"))
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(cells)])
    var = pd.DataFrame(index=[f"G{i}" for i in range(genes)])
    counts = sp.vstack(parts, format="csr")
    anndata.AnnData(counts, obs, var).write_h5ad(path, compression=compression)


def parts_of_ours(store, c, batch):
    """{name: function that does the part for the next batch and returns its cells}."""
    cells = store.sizes["train"]
    order = Permutations(cells, c.seed)
    step = iter(range(10**9))

    def positions():
        first = next(step) * batch
        return order(np.arange(first, first + batch))[1]

    # A few batches ready made, for the parts after reading.
    records = [store.records("train", positions()) for _ in range(4)]
    rows = [decode_batch(r, len(store.labels)) for r in records]
    genes = [np.flatnonzero(m).astype(np.int32) for m in store.measured]
    drafts = []
    for r in rows:
        words = np.arange(batch, dtype=np.uint64)
        drafts.append(Draft(r, genes, store.gene_set[r.dataset], np.stack([words, words], axis=1)))
    transforms = build_transforms(c.data, c.model)
    for draft in drafts:
        transforms[0](draft)
    batches = Batches(store, c, "train", batch, stop=10**9)

    def over(ready, do):
        turns = iter(range(10**9))

        def run():
            do(ready[next(turns) % len(ready)])
            return batch

        return run

    return {
        "order of cells": over([None], lambda _: positions()),
        "read": over([None], lambda _: store.records("train", positions())),
        "read + decode": over([None], lambda _: store.read("train", positions())),
        "decode": over(records, lambda r: decode_batch(r, len(store.labels))),
        **{
            name: over(drafts, transform)
            for name, transform in zip(c.data.transforms, transforms, strict=True)
        },
        "panel": over(rows, lambda r: panel(r, store.panel_width, len(store.vocabulary))),
        PIPELINE: over([None], lambda _: batches[next(step)]),
    }


def timed(read, seconds):
    """(cells a second of the clock, cells a second of processor time) over so many seconds."""
    read()  # what is done once is not timed
    began, used, cells = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        cells += read()
    used = time.process_time() - used
    return cells / (time.perf_counter() - began), cells / max(used, 1e-9)


def read_ahead(store, c, batch, seconds, **how):
    """Cells a second of the clock through Grain, after its first batches."""
    batches = Batches(store, c, "train", batch, stop=10**9)
    with iterate(batches, **how) as stream:
        for _ in range(4 + 2 * how.get("workers", 0)):
            next(stream)
        began, cells = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            cells += len(next(stream)["ids"])
        return cells / (time.perf_counter() - began)


def measure(store, path, c, *, batch, repeats, seconds, workers):
    """Time every side in turn, ``repeats`` times, every other time in the other order.

    Returns
    -------
    list of dicts: name, side ('jaxcell' or 'peer'), random (access to single cells), cells_per_s
    and cells_per_core_s (medians; None where it was not measured), all (per repetition), absent
    """
    rows, readers = [], {}
    for name, read in parts_of_ours(store, c, batch).items():
        rows.append({"name": name, "side": "jaxcell", "random": True})
        readers[name] = read
    for name, package, random, make in PEERS:
        row = {"name": name, "side": "peer", "random": random}
        if importlib.util.find_spec(package) is None:
            row["absent"] = f"{package} is not installed"
        else:
            readers[name] = make(path, batch)
        rows.append(row)
    ahead = {f"{PIPELINE}, {n} threads": {"threads": n} for n in (2,)}
    if workers:
        ahead[f"{PIPELINE}, {workers} workers"] = {"workers": workers}
    rows += [{"name": name, "side": "jaxcell", "random": True} for name in ahead]
    found = {row["name"]: [] for row in rows}
    for i in range(repeats):
        turn = [name for name in found if name in readers or name in ahead]
        for name in turn if i % 2 == 0 else turn[::-1]:
            if name in ahead:
                found[name].append((read_ahead(store, c, batch, seconds, **ahead[name]), None))
            else:
                found[name].append(timed(readers[name], seconds))
    for row in rows:
        clock, core = zip(*found[row["name"]], strict=True) if found[row["name"]] else ((), ())
        row["all"] = list(zip(clock, core, strict=True))
        row["cells_per_s"] = statistics.median(clock) if clock else None
        row["cells_per_core_s"] = statistics.median(core) if core and core[0] else None
    return rows


def cores_for(rows, rate):
    """Cores that feed 8 GPUs at a rate of cells/s each, by the pipeline's rate of one core."""
    one = next(row for row in rows if row["name"] == PIPELINE)
    return GPUS * rate / one["cells_per_core_s"]


def table(rows):
    """The rows as aligned text."""
    base = next((r["cells_per_core_s"] for r in rows if r["name"] == "AnnLoader"), None)
    lines = [("", "cells/s of a core", "µs/cell", "cells/s by the clock", "× AnnLoader")]
    for row in rows:
        if "absent" in row:
            lines.append((row["name"], row["absent"], "", "", ""))
            continue
        core = row["cells_per_core_s"]
        reads = row["name"].startswith(("read", PIPELINE)) or row["side"] == "peer"
        lines.append(
            (
                row["name"] + ("" if row["random"] else " *"),
                f"{core:,.0f}" if core else "–",
                f"{1e6 / core:.1f}" if core else "–",
                f"{row['cells_per_s']:,.0f}",
                f"{core / base:.1f}" if core and base and reads else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    starred = any(not row["random"] for row in rows)
    return text + ("\n* neighbouring cells come together: not random access" if starred else "")


def figure(path, rows, title):
    """Cells a second of one core on a logarithmic axis, ours and the others'."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.get("cells_per_core_s")][::-1]
    made = Figure(figsize=(8, 0.8 + 0.32 * len(shown)), layout="constrained", dpi=150)
    axes = made.subplots()
    colours = {"jaxcell": "#1f6f8b", "peer": "#b0b0b0"}
    values = [row["cells_per_core_s"] for row in shown]
    places = np.arange(len(shown))
    axes.scatter(values, places, c=[colours[row["side"]] for row in shown], s=45, zorder=2)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:,.0f}", (value, place), (8, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axes.set_yticks(places, [row["name"] + ("" if row["random"] else " *") for row in shown])
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.grid(axis="both", color="#e5e5e5", zorder=0)
    axes.set_xlabel("cells a second of one core; jaxcell blue (* neighbouring cells come together)")
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    made.savefig(path, metadata={"Software": None})


def compression(path):
    """How the counts of an h5ad are compressed; None where they are not."""
    with h5py.File(path, "r") as file:
        counts = file["X"]
        return (counts if isinstance(counts, h5py.Dataset) else counts["data"]).compression


def machine():
    """What the figures were measured on."""
    names = ("numpy", "grain", "array_record", "anndata", "h5py", "torch", "scdataset", "annbatch")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }


def main(argv=None):
    """Measure, print the table, and write loader.json and loader.png."""
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--data", metavar="FILE.h5ad", help="raw counts; by default drawn ones")
    p.add_argument("--cells", type=int, default=20_000, help="of the drawn counts")
    p.add_argument("--genes", type=int, default=20_000, help="of the drawn counts")
    p.add_argument("--gzip", action="store_true", help="compress the drawn h5ad, as atlases are")
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="of each side in each repetition")
    p.add_argument("--workers", type=int, default=2, help="Grain worker processes; 0: none")
    p.add_argument("--rate", type=float, default=1000.0, help="cells/s of one GPU to feed")
    asked = p.parse_args(argv)
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    c = config.defaults()
    with tempfile.TemporaryDirectory(prefix="jaxcell-bench-") as folder:
        path = asked.data or Path(folder) / "drawn.h5ad"
        if not asked.data:
            synthetic(path, asked.cells, asked.genes, "gzip" if asked.gzip else None)
        store = prepare(Path(folder) / "store", path, progress=False)
        before = os.getloadavg()
        batch = min(asked.batch, store.sizes["train"])
        how = {"repeats": asked.repeats, "seconds": asked.seconds, "workers": asked.workers}
        rows = measure(store, path, c, batch=batch, **how)
        n_genes = store.index("train", "n_genes")
        about = {
            "data": Path(path).name,
            "compression": compression(path),
            "cells": store.sizes["train"],
            "genes": len(store.vocabulary),
            "nonzero": float(np.mean(n_genes)),
            "visible": c.data.sample_genes.number,
            "batch": batch,
            "repeats": asked.repeats,
            "load_before": before,
            **machine(),
        }
    needs = {rate: cores_for(rows, rate) for rate in (PAPER_RATE, asked.rate)}
    title = (
        f"{about['data']} ({about['compression'] or 'not compressed'}): {about['cells']:,} cells "
        f"× {about['genes']:,} genes,\n"
        f"{about['nonzero']:,.0f} > 0 a cell; K = {about['visible']:,}, batches of {batch}"
    )
    print(title)
    print(table(rows))
    for rate, cores in needs.items():
        print(f"{GPUS} GPUs at {rate:,g} cells/s each: {cores:.2f} cores of the pipeline")
    result = {**about, "rows": rows, "cores_for_8_gpus": {str(k): v for k, v in needs.items()}}
    (out / "loader.json").write_text(json.dumps(result, indent=1))
    figure(out / "loader.png", rows, title)
    print(f"written: {out / 'loader.json'}, {out / 'loader.png'}")


if __name__ == "__main__":
    sys.exit(main())
