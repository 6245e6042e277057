"""Read spoiled h5ad files: `python -m tests.knocks.spoiled FOLDER FIRST TRIES`, a process to lose.

Of a small valid file some bits are flipped or its end is cut off, by the number of the try. Each
try is a line of FOLDER/found.jsonl, begun before it is read: where HDF5 ends the process, or never
comes back, the line says which it was.
"""

import faulthandler
import json
import sys
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np

from jaxcell.data.genes import identify
from jaxcell.data.sources import open_source
from tests.conftest import draw_cells

PATIENCE = 120  # seconds of a try
KINDS = ("plain", "checked")


def write(path, kind):
    """A file as anndata writes it; or with checksums of the counts and of all metadata."""
    adata = draw_cells(5, 25, 30)
    if kind == "plain":
        adata.write_h5ad(path, compression="gzip")
        return
    checked = {"fletcher32": True, "compression": "gzip"}
    with h5py.File(path, "w", libver="latest") as file:
        anndata.io.write_elem(file, "/", adata)
        anndata.io.write_elem(file, "X", adata.X, dataset_kwargs=checked)


def spoil(content, seed):
    """Flip 1 to 3 bits, or bytes of one place, or cut the end off."""
    random, content = np.random.default_rng(seed), bytearray(content)
    how = random.integers(4)
    if how == 0:
        return content[: random.integers(len(content))]
    if how == 1:
        start = random.integers(len(content))
        size = int(random.integers(1, 65))
        content[start : start + size] = random.bytes(size)[: len(content) - start]
        return content
    for at in random.integers(len(content), size=random.integers(1, 4)):
        content[at] ^= 1 << random.integers(8)
    return content


def read(path):
    """Counts [n, V] as the verbs read them, and the names of genes and labels."""
    source = open_source(path)
    names = identify(source.var, "auto", source.name)
    chunks = [chunk.toarray() for chunk in source.chunks()]
    counts = np.concatenate(chunks) if chunks else np.empty((0, 0))
    return counts, names.symbols, source.obs["kind"].astype(str).tolist()


def main(folder, first, tries):
    """Some tries."""
    folder = Path(folder)
    kinds = {}
    for kind in KINDS:
        path = folder / f"{kind}.h5ad"
        if not path.exists():
            write(path, kind)
        kinds[kind] = path.read_bytes(), read(path)
    with open(folder / "found.jsonl", "a") as log:
        for number in range(int(first), int(first) + int(tries)):
            kind = KINDS[number % 2]
            content, wanted = kinds[kind]
            path = folder / f"spoiled {number}.h5ad"
            path.write_bytes(spoil(content, number))
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            print(json.dumps({"try": number, "kind": kind}), file=log, flush=True)
            found = {"try": number, "kind": kind, **_tried(path, wanted)}
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(found), file=log, flush=True)
            path.unlink()


def _tried(path, wanted):
    """How a try ended: {'said': …} or {'same': whether counts, names and labels are those}."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            counts, names, labels = read(path)
        except (ValueError, OSError) as error:
            return {"said": str(error), "names it": str(path) in str(error)}
        except BaseException as error:
            return {"raised": f"{type(error).__name__}: {error}"}
    return {
        "same": np.array_equal(counts, wanted[0]),
        "same names": (names, labels) == wanted[1:],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
