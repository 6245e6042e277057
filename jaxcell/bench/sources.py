"""How quickly each source is read from end to end, and in how much memory: a process for each.

python -m jaxcell.bench.sources cells.h5ad cells.zarr soma:cells 10x_folder …
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MEASURED = "--one"  # in a process of its own
HEADINGS = (
    "source",
    "kind",
    "cells",
    "values",
    "open CPU s",
    "cells / CPU s",
    "2nd pass",
    "peak MB",
)


def measure(spec):
    """Open a source and read it twice, in this process.

    Returns
    -------
    dict
        cells, values and total (sum of all counts); seconds of all cores for opening and for either
        pass, of which the first may lay a copy down (other work on the machine leaves them as they
        are); peak_mb, the growth of this process' highest resident memory from before it opened.
    """
    from jaxcell.bench.host import peak_gb
    from jaxcell.data.sources import open_source
    from jaxcell.data.sources.opening import kind_of

    before, start = peak_gb() * 1000, time.process_time()
    source = open_source(spec)
    opened = time.process_time()
    values, total = _pass(source)
    once = time.process_time()
    if _pass(source) != (values, total):
        raise ValueError(f"{spec}: the second pass read other counts than the first")
    twice = time.process_time()
    return {
        "source": Path(spec).name,
        "kind": kind_of(spec)[0],
        "cells": source.n_cells,
        "values": values,
        "total": total,
        "open_s": opened - start,
        "seconds": once - opened,
        "again_s": twice - once,
        "peak_mb": peak_gb() * 1000 - before,
    }


def _pass(source):
    values, total = 0, 0.0
    for chunk in source.chunks():
        values += chunk.nnz
        total += float(chunk.data.sum(dtype="f8"))
    return values, total


def table(rows):
    """What `measure` found, as Markdown."""
    lines = [" | ".join(HEADINGS), "|".join("---" for _ in HEADINGS)]
    for row in rows:
        each = row["source"], row["kind"], f"{row['cells']:,}", f"{row['values']:,}"
        rates = (f"{row['cells'] / row[part]:,.0f}" for part in ("seconds", "again_s"))
        lines.append(" | ".join((*each, f"{row['open_s']:.2f}", *rates, f"{row['peak_mb']:.0f}")))
    return "\n".join(f"| {line} |" for line in lines)


def main(arguments):
    """Measure each source in a process of its own and show all."""
    parser = argparse.ArgumentParser(prog="python -m jaxcell.bench.sources")
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    parser.add_argument(MEASURED, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        print(json.dumps(measure(asked.sources[0])))
        return
    rows = []
    for spec in asked.sources:
        own = [sys.executable, "-m", "jaxcell.bench.sources", MEASURED, spec]
        done = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
