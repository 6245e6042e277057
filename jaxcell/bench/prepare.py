"""What writing a store costs: memory and time over the number of cells, and going on after a kill.

    python -m jaxcell.bench.prepare --cells 10000 100000 1000000 --formats csr csc --out DIR
    python -m jaxcell.bench.prepare --cells 100000 --formats csr --out DIR --kill

Cells are synthetic (`jaxcell.bench.synthetic_cells`, uncompressed float32). Each measurement is a
process of its own: its peak memory (VmHWM), and its processor time of all threads, from the first
look at the file to the last checksum; imports are in the memory, not in the time. A sample of cells
is then read back and compared with the file, and the store verified. Cells a second of one core
count processor time, so that a busy machine changes them little. Files are removed as soon as they
are done with: a million cells are 17 GB and their store 4, CSC takes 13 more while it is prepared.
With --kill each run is ended by SIGKILL when half of its blocks are written; what is measured is
the next, which goes on. DIR gets prepare.json and prepare.png, the terminal a table.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse as sp

from jaxcell.bench import synthetic_cells
from jaxcell.bench.host import peak_gb
from jaxcell.data.prepare import prepare
from jaxcell.data.preparing import blocks
from jaxcell.data.store import Store
from jaxcell.data.verification import verify

MOST_MEMORY = 1.5  # GB, what is aimed at
AIMED = {"csr": 10_000, "csc": 3000}  # cells a second of one core
SAMPLE = 200  # cells that are read back, and genes of CSC


def main(argv=None):
    """Measure, or be measured."""
    asked = _arguments().parse_args(argv)
    if asked.measure:
        print(json.dumps(measure(*asked.measure, asked.shards)))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for form in asked.formats:
        for cells in asked.cells:
            row = one(asked, form, cells)
            rows.append(row)
            print(line(row), flush=True)
    found = {
        "machine": {
            "processors": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "load": os.getloadavg()[0],
        },
        "genes": asked.genes,
        "nonzero": asked.nonzero,
        "seed": asked.seed,
        "rows": rows,
    }
    (asked.out / "prepare.json").write_text(json.dumps(found, indent=1))
    print("\n" + table(rows))
    if not asked.kill:
        draw(rows, asked.out / "prepare.png")


def _arguments():
    p = argparse.ArgumentParser(prog="python -m jaxcell.bench.prepare", description=__doc__)
    p.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000])
    p.add_argument("--formats", nargs="+", choices=tuple(AIMED), default=["csr", "csc"])
    p.add_argument("--genes", type=int, default=20_000)
    p.add_argument("--nonzero", type=int, default=2000, help="genes > 0 of the median cell")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--shards", type=int, help="record files; one for each 65 536 cells by default")
    p.add_argument("--out", type=Path, default=Path("bench-prepare"))
    p.add_argument("--kill", action="store_true", help="kill each run half way, and go on")
    p.add_argument("--keep", action="store_true", help="keep the files of cells, for other runs")
    p.add_argument("--measure", nargs=2, metavar=("FILE", "STORE"), help=argparse.SUPPRESS)
    return p


def one(asked, form, cells):
    """Make a file, its store in a process of its own, and compare them; what was measured."""
    file = asked.out / f"{form}-{cells}-{asked.genes}-{asked.nonzero}-{asked.seed}.h5ad"
    store = asked.out / f"{form}-{cells}.store"
    shutil.rmtree(store, ignore_errors=True)
    if not file.exists():
        partial = file.with_suffix(".partial")
        synthetic_cells.write(partial, cells, asked.genes, asked.nonzero, form, asked.seed)
        partial.rename(file)
    row = {"form": form, "cells": cells, "file_bytes": file.stat().st_size}
    try:
        if asked.kill:
            row |= {"killed": kill_half_way(file, store, cells, asked.shards)}
        row |= _child(file, store, asked.shards)
        if asked.kill:
            row["cells_per_s_core"] = None  # some of the cells had been done before
        row["store_bytes"] = sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
        row["problems"] = verify(store, progress=False)
        row["compared"] = compare(file, form, Store.open(store), asked.seed)
    finally:
        shutil.rmtree(store, ignore_errors=True)
        if not asked.keep:
            file.unlink()
    return row


def _command(file, store, shards):
    command = [sys.executable, "-m", "jaxcell.bench.prepare", "--measure", str(file), str(store)]
    return command + (["--shards", str(shards)] if shards else [])


def _child(file, store, shards):
    command = _command(file, store, shards)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(file, store, shards=None):
    """Prepare, in this process; what it took."""
    imports, began = peak_gb(), time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF)
    sizes = prepare(store, file, shards=shards, progress=False).sizes
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    return {
        "peak_gb": peak_gb(),
        "imports_gb": imports,
        "processor_s": used,
        "wall_s": time.perf_counter() - began,
        "cells_per_s_core": sum(sizes.values()) / used,
    }


def kill_half_way(file, store, cells, shards=None):
    """Start a prepare and end it by SIGKILL when half of its blocks are written.

    Returns
    -------
    dict with the blocks of all and those that were written by then

    Raises
    ------
    RuntimeError
        It ended before.
    """
    number = shards or -(-cells // blocks.CELLS)
    results = store.parent / f".{store.name}.unfinished" / "results"
    with subprocess.Popen(_command(file, store, shards), stdout=subprocess.DEVNULL) as process:
        while len(list(results.glob("write-*.npz"))) < max(1, number // 2):
            if process.poll() is not None:
                raise RuntimeError(f"prepare of {file} ended before it could be killed")
            time.sleep(0.02)
        time.sleep(0.1)  # so that it is in the midst of the next block
        process.send_signal(signal.SIGKILL)
    if store.exists():
        raise RuntimeError(f"prepare of {file} was done before it was killed: give more cells")
    return {"blocks": number, "written": len(list(results.glob("write-*.npz")))}


def compare(file, form, store, seed):
    """Whether a sample of the store's cells is what the file holds; of CSC, in some genes."""
    random = np.random.default_rng(seed)
    cells = np.sort(random.permutation(store.sizes["train"])[:SAMPLE])
    rows = store.read("train", cells)
    shape = (len(cells), len(store.vocabulary))
    found = sp.csr_matrix((rows.counts, rows.ids, rows.indptr), shape)
    with h5py.File(file) as opened:
        x = opened["X"]
        genes = np.sort(random.permutation(shape[1])[:SAMPLE])
        major = cells if form == "csr" else genes
        bounds = x["indptr"][:]
        parts = [slice(bounds[i], bounds[i + 1]) for i in major]
        sizes = np.cumsum([0, *(p.stop - p.start for p in parts)])
        arrays = (np.concatenate([x[name][p] for p in parts]) for name in ("data", "indices"))
        if form == "csr":
            wanted = sp.csr_matrix((*arrays, sizes), shape)
        else:
            wanted = sp.csc_matrix((*arrays, sizes), (store.sizes["train"], len(major)))
            wanted, found = wanted.tocsr()[cells], found[:, genes]
    return bool((wanted != found).nnz == 0 and found.nnz > 0)


def line(row):
    """A measurement in words."""
    text = f"{_name(row)}: {row['cells']:,} cells, {_rate(row)} cells/s of a core, "
    return text + f"peak {row['peak_gb']:.2f} GB, {row['wall_s']:.0f} s"


def _name(row):
    killed = row.get("killed")
    after = f", killed with {killed['written']} of {killed['blocks']} blocks" if killed else ""
    return row["form"].upper() + after


def _rate(row):
    rate = row["cells_per_s_core"]
    return "–" if rate is None else f"{rate:,.0f}"


def table(rows):
    """All measurements, as a table of Markdown."""
    lines = [
        "| from | cells | peak memory, GB | processor time, s | clock, s | cells/s of a core | aim "
        "| file, GB | store, GB | verified, sample equal |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        whole = "yes" if not r["problems"] and r["compared"] else f"NO {r['problems']}"
        lines.append(
            f"| {_name(r)} | {r['cells']:,} | {r['peak_gb']:.2f} | {r['processor_s']:.1f} "
            f"| {r['wall_s']:.1f} | {_rate(r)} | {AIMED[r['form']]:,} "
            f"| {r['file_bytes'] / 1e9:.2f} | {r['store_bytes'] / 1e9:.2f} | {whole} |"
        )
    return "\n".join(lines)


def draw(rows, path):
    """Memory, to be flat, and processor time, to be linear, over the number of cells."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (memory, seconds) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for form in dict.fromkeys(r["form"] for r in rows):
        mine = sorted(
            (r["cells"], r["peak_gb"], r["processor_s"]) for r in rows if r["form"] == form
        )
        cells, peak, used = zip(*mine, strict=True)
        memory.plot(cells, peak, "o-", label=form.upper())
        seconds.plot(cells, used, "o-", label=form.upper())
        seconds.plot(cells, np.array(cells) / AIMED[form], ":", color="grey", lw=1)
    memory.axhline(MOST_MEMORY, ls=":", color="grey", lw=1)
    memory.set(xscale="log", xlabel="cells", ylabel="peak memory, GB", ylim=(0, None))
    seconds.set(xscale="log", yscale="log", xlabel="cells", ylabel="processor time, s")
    figure.suptitle("jaxcell prepare; dotted: what is aimed at", fontsize=9)
    memory.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
