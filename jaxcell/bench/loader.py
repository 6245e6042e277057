"""How fast cells come off the disk and become batches here, beside other loaders.

    python -m jaxcell.bench.loader --out DIR [--data FILE.h5ad] [--cells 20000 --genes 20000]

Reads the same cells of the same file in the same run: jaxcell from the store that it prepares of
it, and from the file itself; the others (`jaxcell.bench.peers`; ``pip install 'jaxcell[bench]'``)
from the file, or from the copy of it that they take. Tokenised, what they read goes through the
very transforms that make jaxcell's batches. The sides take turns; each figure is the median over
the repetitions. Cells a second of one core count processor time (of all threads of the process),
so that a busy machine changes them little; the others the clock. Cold: before each batch the pages
of all files are dropped from the system's cache (posix_fadvise), and reading them is what counts.

``--latency 0.02 0.05`` measures something else: TxFM-B's pipeline, where each record takes so many
seconds to come, by how many are asked for together and by Grain's threads.

DIR gets loader.json and loader.png, the terminal a table.
"""

import argparse
import importlib.metadata
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

from jaxcell.bench import synthetic_cells
from jaxcell.bench.loader_sides import TXFM, configs, distant, sides
from jaxcell.bench.loader_table import best_peer, distant_table, figure, table
from jaxcell.data.pipeline import iterate
from jaxcell.data.prepare import prepare
from jaxcell.data.unprepared import Unprepared

GPUS = 8
PAPER_RATE = 92  # cells a second of one GPU: 200 epochs of 1.434M cells in 864 H100-hours
SHOWN = ("name", "group", "ours", "random", "loader", "absent")
WAYS = ((1, 2), (1, 16), (32, 2), (128, 2), (128, 4))  # records at once, threads; with a latency


def timed(read, seconds, before=None, together=1):
    """{clock, core}: cells a second of the clock and of processor time, over so many seconds.

    together : reads that are timed as one, after ``before``
    """
    for _ in range(together):
        read()  # what is done once is not timed
    clock = used = cells = 0
    while clock < seconds:
        if before:
            before()
        began, had = time.perf_counter(), time.process_time()
        cells += sum(read() for _ in range(together))
        clock += time.perf_counter() - began
        used += time.process_time() - had
    return {"clock": cells / clock, "core": cells / max(used, 1e-9)}


def read_ahead(source, seconds, *, workers=0, threads=2):
    """The same through Grain, after its first batches; of worker processes only the clock.

    At least six batches of each thread: what is made and waits at the end is not counted.
    """
    with iterate(source, workers=workers, threads=threads) as stream:
        for _ in range(2 * threads + 4 * workers):
            next(stream)
        began, had, cells, batches = time.perf_counter(), time.process_time(), 0, 0
        while time.perf_counter() - began < seconds or batches < 6 * max(threads, workers):
            cells += len(next(stream)["ids"])
            batches += 1
        used = time.process_time() - had
        clock = cells / (time.perf_counter() - began)
        return {"clock": clock, "core": None if workers else cells / max(used, 1e-9)}


def dropper(*places):
    """A function that drops the pages of some files, and of all files in some folders."""
    files = [f for p in map(Path, places) for f in ([p] if p.is_file() else p.rglob("*"))]
    os.sync()  # a page that is not on the disk yet stays

    def drop():
        for file in files:
            if file.is_file():
                opened = os.open(file, os.O_RDONLY)
                os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(opened)

    return drop


def measure(found, *, repeats, seconds, drop=None):
    """Time sides in turn, ``repeats`` times, every other time in the other order.

    Returns
    -------
    list of dicts: those of SHOWN, warm and cold (medians, see `timed`; cold is None without
    ``drop`` and for what reads ahead), all (each repetition's)
    """
    ready = {i: made for i, side in enumerate(found) if (made := _made(side))}
    seen = {i: {"warm": [], "cold": []} for i in ready}
    for kind in ("warm", "cold") if drop else ("warm",):
        for turn in range(repeats):
            for i in ready if turn % 2 == 0 else reversed(ready):
                if not found[i].ahead:
                    before = drop if kind == "cold" else None
                    one = timed(ready[i], seconds, before, found[i].together)
                    seen[i][kind].append(one)
                elif kind == "warm":
                    seen[i][kind].append(read_ahead(ready[i], seconds, **found[i].ahead))
    rows = []
    for i, side in enumerate(found):
        row = {name: getattr(side, name) for name in SHOWN}
        all_of = seen.get(i, {"warm": [], "cold": []})
        rows.append(row | {kind: _medians(each) for kind, each in all_of.items()} | {"all": all_of})
    return rows


def _made(side):
    """A side's reader, or None where there is none: another's that fails is absent, and why."""
    if side.absent or side.ours:
        return None if side.absent else side.make()
    try:
        return side.make()
    except Exception as error:
        side.absent = f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return None


def _medians(found):
    """{clock, core}; core None where it was not measured, None where nothing was."""
    if not found:
        return None
    each = {name: [one[name] for one in found] for name in found[0]}
    return {n: None if None in v else statistics.median(v) for n, v in each.items()}


def cores_for(rows, rate):
    """Cores that feed 8 GPUs at a rate of cells/s each with TxFM-B's batches."""
    one = next(row for row in rows if row["name"] == "jaxcell" and row["group"] == TXFM)
    return GPUS * rate / one["warm"]["core"]


def draw(path, cells, genes, compression=None):
    """Write an h5ad of drawn counts, as anndata itself lays it out."""
    synthetic_cells.write(path, cells, genes, min(2000, genes // 3))
    anndata.read_h5ad(path).write_h5ad(path, compression=compression)


def compression(path):
    """How the counts of an h5ad are compressed; None where they are not."""
    with h5py.File(path, "r") as file:
        counts = file["X"]
        return (counts if isinstance(counts, h5py.Dataset) else counts["data"]).compression


def machine():
    """What the figures were measured on."""
    names = ("numpy", "grain", "array_record", "anndata", "h5py", "torch")
    names += ("scdataset", "annbatch", "tiledbsoma", "tiledbsoma-ml")
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


def options(argv):
    """What is asked for."""
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
    p.add_argument("--warm", action="store_true", help="leave out the cold cache")
    p.add_argument("--latency", type=float, nargs="+", metavar="S", help="seconds of each record")
    return p.parse_args(argv)


def main(argv=None):
    """Measure, print the table, and write loader.json and loader.png."""
    asked = options(argv)
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jaxcell-bench-") as folder:
        folder = Path(folder)
        path = asked.data or folder / "drawn.h5ad"
        if not asked.data:
            draw(path, asked.cells, asked.genes, "gzip" if asked.gzip else None)
        store = prepare(folder / "store", path, progress=False)
        batch = min(asked.batch, store.sizes["train"])
        about = {
            "data": Path(path).name,
            "compression": compression(path),
            "cells": store.sizes["train"],
            "genes": len(store.vocabulary),
            "nonzero": float(np.mean(store.index("train", "n_genes"))),
            "batch": batch,
            "repeats": asked.repeats,
            "load_before": os.getloadavg(),
        }
        if asked.latency:
            found = _distant(asked, store, batch)
        else:
            found = _sides(asked, store, path, folder, batch)
    about |= machine()
    title = (
        f"{about['data']} ({about['compression'] or 'not compressed'}): {about['cells']:,} cells "
        f"× {about['genes']:,} genes, {about['nonzero']:,.0f} > 0 a cell; batches of {batch}"
    )
    print(title)
    if asked.latency:
        print(distant_table(found))
        result = about | {"distant": found}
    else:
        print(table(found))
        needs = {rate: cores_for(found, rate) for rate in (PAPER_RATE, asked.rate)}
        for rate, cores in needs.items():
            print(f"{GPUS} GPUs at {rate:,g} cells/s each: {cores:.2f} cores of the pipeline")
        result = about | {"rows": found, "cores_for_8_gpus": {str(k): v for k, v in needs.items()}}
        result["best_peer_tokenised"] = best_peer(found, TXFM)
        figure(out / "loader.png", found, title)
    (out / "loader.json").write_text(json.dumps(result, indent=1))
    print(f"written: {', '.join(str(p) for p in sorted(out.glob('loader.*')))}")


def _sides(asked, store, path, folder, batch):
    unprepared = Unprepared(path, progress=False)
    workers = (0, asked.workers) if asked.workers else (0,)
    found = sides(store, unprepared, path, folder, batch, workers)
    drop = None if asked.warm else dropper(path, folder)
    return measure(found, repeats=asked.repeats, seconds=asked.seconds, drop=drop)


def _distant(asked, store, batch):
    c, found = configs(store)[TXFM], []
    for latency in asked.latency:
        for at_once, threads in WAYS:
            rate = distant(store, c, batch, latency, at_once, threads, asked.seconds)
            row = {"latency": latency, "at_once": at_once, "threads": threads}
            found.append(row | {"cells_per_s": rate})
    return found


if __name__ == "__main__":
    sys.exit(main())
