"""Makers of bad inputs: each writes files into a folder and returns what `prepare` is given."""

from dataclasses import dataclass, field

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from jaxcell.cli import main
from jaxcell.data import prepare as module
from jaxcell.data.prepare import prepare
from tests.data.conftest import GENES, cells, counts

MOUSE = ["Trp53", "Gapdh", "Actb", "Cd3e", "Ms4a1", "Ercc1", "H2-K1", "Matr3"]


@dataclass(frozen=True)
class Bad:
    """make(folder) -> inputs; the words its message has; options, made by a function of folder."""

    make: callable
    words: tuple
    options: callable = field(default=lambda folder: {})


def refused(case, inputs, out, monkeypatch):
    """A case is refused with its words, no record is written, and nothing is left."""
    files, given = case.make(inputs), case.options(inputs)
    monkeypatch.setattr(module, "write_store", None)  # a call would be a TypeError
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        prepare(out / "store", files, progress=False, **given)
    for word in case.words:
        caught.match(word)
    assert list(out.iterdir()) == []


def one_line(case, inputs, out, capfd):
    """The same on the command line, by one line."""
    files = case.make(inputs)
    files = [str(file) for file in (files if isinstance(files, list) else [files])]
    with pytest.raises(SystemExit) as caught:
        main(["prepare", str(out / "store"), *files])
    message = str(caught.value)
    assert message.startswith("error: ")
    assert "\n" not in message
    for word in case.words:
        caught.match(word)
    assert "Traceback" not in capfd.readouterr().err
    assert list(out.iterdir()) == []


def of(adata, name="cells.h5ad"):
    """Write an AnnData (or one that a function makes)."""

    def make(folder):
        (adata() if callable(adata) else adata).write_h5ad(folder / name)
        return folder / name

    return make


def changed(change, form=sp.csr_matrix):
    """Write cells and change the file by h5py."""

    def make(folder):
        path = of(cells(form(counts())))(folder)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def put(name, value):
    """Change: a dataset becomes value, a function of what it is; its attributes stay."""

    def change(file):
        old, attributes = file[name][:], dict(file[name].attrs)
        del file[name]
        file[name] = value(old)
        file[name].attrs.update(attributes)

    return change


def at(place, value):
    """Function: array -> the same with another value at a place."""

    def change(array):
        array[place] = value
        return array

    return change


def written(content, name="cells.h5ad"):
    def make(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return make


def shortened(share):
    def make(folder):
        path = of(cells(sp.csr_matrix(counts(300))))(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return make


def overwritten(folder):
    """Gzip-compressed values of which some bytes are others."""
    path = folder / "cells.h5ad"
    cells(sp.csr_matrix(counts(3000))).write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        place = file["X/data"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 50] = b"\xff" * 50
    path.write_bytes(content)
    return path


def only_a_matrix(folder):
    with h5py.File(folder / "cells.h5ad", "w") as file:
        file["matrix"] = [1]
    return folder / "cells.h5ad"


def without_encoding(folder):
    with h5py.File(folder / "cells.h5ad", "w") as file:
        file["X"], file["obs"], file["var"] = np.ones((3, 2)), np.arange(3), np.arange(2)
    return folder / "cells.h5ad"


def as_frame(file):
    file.copy("obs", "copy")
    del file["X"]
    file.move("copy", "X")


def in_two(second):
    """The cells in a.h5ad and in b.h5ad."""

    def make(folder):
        first = of(cells(), "a.h5ad")(folder)
        return [first, second(folder, first)]

    return make


def link(how):
    def second(folder, first):
        how(first, folder / "b.h5ad")
        return folder / "b.h5ad"

    return second


def of_species(first, second):
    """human.h5ad and mouse.h5ad, by symbols or the index of var."""

    def make(folder):
        paths = [folder / "human.h5ad", folder / "mouse.h5ad"]
        for seed, (path, names) in enumerate(zip(paths, (first, second), strict=True)):
            cells(seed=seed, symbols=names).write_h5ad(path)
        return paths

    return make


def barnyard(folder):
    names = [*(f"GRCh38_{g}" for g in GENES[:5]), *(f"mm10___{g}" for g in MOUSE[5:])]
    return of(cells(symbols=names))(folder)


def normalised(logarithm):
    x = counts() / counts().sum(1, keepdims=True) * 1e4
    return cells(np.log1p(x) if logarithm else x)


def scaled():
    return cells((counts() - counts().mean(0)) / counts().std(0))


def twice_the_same():
    return anndata.concat([cells(), cells()])


def with_obs(**columns):
    adata = cells()
    for name, values in columns.items():
        adata.obs[name] = values
    return adata


def with_objects():
    adata = cells()
    adata.X = counts().astype(object)
    return adata


def options(**given):
    return lambda folder: given


def genes_wanted(*names):
    def make(folder):
        (folder / "wanted.txt").write_text("\n".join(names))
        return {"vocabulary": folder / "wanted.txt"}

    return make
