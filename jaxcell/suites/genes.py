"""The suite ``genes``: what gene vectors know (TxFM section 4.2, A.2, A.5; scFormer, figure 2c)."""

import os
from pathlib import Path

import numpy as np

from jaxcell.evaluation import count_statistics, gene_map, inputs
from jaxcell.evaluation.relations import (
    SIDES,
    SIZES,
    by_name,
    locate,
    read_pairs,
    relationship_recall,
)
from jaxcell.suites import gene_sources as sources
from jaxcell.suites import genes_page
from jaxcell.suites.gene_cells import Cells
from jaxcell.suites.suite import Part, Suite
from jaxcell.suites.vectors import fingerprint

MARKERS = 9  # of a type, as scFormer's figure has them


def _arguments(p):
    p.add_argument("--vectors", nargs="+", default=(), metavar="NAME=FILE",
                   help="gene vectors: h5ad as jaxcell genes writes it, tsv or npz")  # fmt: skip
    p.add_argument("--pairs", nargs="+", default=(), metavar="FILE",
                   help="known pairs; annotation/efaar/*.txt of --data")  # fmt: skip
    p.add_argument("--cells", nargs="+", default=(), metavar="H5AD",
                   help="raw counts: for PCA, scVI, count statistics and markers")  # fmt: skip
    p.add_argument("--counts", default="X", help="where in the cells: X, layers/NAME or raw")
    p.add_argument("--markers", metavar="OBS", help="cell types of the cells, for the maps")
    p.add_argument("--epochs", action="store_true", help="every step that the runs kept, too")
    p.add_argument("--sides", default="top", choices=SIDES, help="both: at each end")
    p.add_argument("--share", type=float, default=0.05, help="of all pairs that is predicted")
    p.add_argument("--sizes", nargs="+", type=int, default=SIZES, metavar="N", help="of PCA")
    p.add_argument("--components", type=int, metavar="N", help="of the count statistics; all")
    p.add_argument("--scvi-preset", default="paper_inductive", choices=sources.SCVI)
    p.add_argument("--scvi-epochs", type=int, metavar="N", help="other than scvi-tools' own")
    p.add_argument("--allow-non-integer", action="store_true",
                   help="take counts that are not integers")  # fmt: skip


def _plan(asked):
    """Parts: recall of each source; count statistics and map of those that are no step."""
    given = asked.options
    for name in ("vectors", "pairs", "cells"):
        several = (given[name],) if isinstance(given[name], str | Path) else given[name]
        given[name] = [str(one) for one in several]
    inputs.check_extra()
    baselines = asked.baselines or (("random", "pca") if given["cells"] else ("random",))
    _check(asked, baselines)
    own = sources.checkpoints(asked.checkpoints, given["epochs"]) + sources.files(given["vectors"])
    cells = None
    if given["cells"]:
        cells = Cells(given["cells"], given["counts"], given["allow_non_integer"])
    if not own and cells is None:
        raise ValueError("genes: found no vectors; name --checkpoint, --vectors or --cells")
    vocabulary = sources.shared(own, cells.names if cells else ())
    known, pairs = _known(asked, vocabulary)
    if cells:
        cells.on(vocabulary)
    types = given["markers"] and cells.labels(given["markers"])
    if types is not None and len(np.unique(types[types != ""])) < 2:
        raise ValueError(f"--markers {given['markers']}: found fewer than 2 types, expected 2 up")
    width = max([x.shape[1] for s in own if s.step is None for x in s.read().values()] or [256])
    own += sources.made(
        baselines, cells, vocabulary, width, seeds=asked.seeds, components=max(given["sizes"]),
        scvi=(given["scvi_preset"], given["scvi_epochs"]), folder=asked.out / "vectors",
    )  # fmt: skip
    if twice := {s.key for s in own if [o.key for o in own].count(s.key) > 1}:
        raise ValueError(f"genes: two vectors are called {sorted(twice)[0]}; write NAME=… for each")
    suite = _Vectors(given, vocabulary, known, pairs, cells)
    parts = [suite.recall(source) for source in own]
    final = [source for source in own if source.step is None]
    parts += [suite.statistics(source) for source in final] if cells else []
    first = {source.model: source for source in reversed(final)}  # the first seed of each
    drawn = [s for s in final if first[s.model] is s and s.kind != "reference"]
    return parts + ([suite.map(source) for source in drawn] if given["markers"] else [])


def _check(asked, baselines):
    given = asked.options
    if odd := [name for name in baselines if name not in sources.BASELINES]:
        expected = ", ".join(sources.BASELINES)
        raise ValueError(f"baselines: {odd[0]!r} is unknown; known are {expected}")
    for name, needs in (("pca", "pca" in baselines), ("scvi", "scvi" in baselines)):
        if needs and not given["cells"]:
            raise ValueError(f"baseline {name}: needs cells to be fitted on (--cells FILE)")
    if given["markers"] and not given["cells"]:
        raise ValueError("--markers: needs cells with that column of obs (--cells FILE)")
    if not 0 < given["share"] < 0.5:
        raise ValueError(f"--share: found {given['share']}, expected within (0, 0.5)")
    numbers = {"sizes": list(given["sizes"])}
    numbers |= {
        name: [given[name]] for name in ("components", "scvi_epochs") if given[name] is not None
    }
    for name, values in numbers.items():
        if not values or min(values) < 1:
            found = ", ".join(map(str, values)) or "none"
            raise ValueError(f"--{name.replace('_', '-')}: found {found}, expected 1 or more")
    if len(asked.data) > 1 or any(not Path(path).is_dir() for path in asked.data):
        raise ValueError(
            f"--data: found {', '.join(map(str, asked.data))}, expected one folder laid out as"
            " JAXCELL_DATA; cells are named by --cells, pairs by --pairs"
        )


def _known(asked, vocabulary):
    """{database: int [m, 2]}, and {database: hash, pairs, found}."""
    paths = asked.options["pairs"]
    if not paths:
        folder = (asked.data or (os.environ.get("JAXCELL_DATA"),))[0]
        if not folder:
            raise ValueError(
                "--pairs: found none; name files of known pairs, or --data FOLDER (or JAXCELL_DATA)"
                " with annotation/efaar"
            )
        paths = sorted((Path(folder) / "annotation" / "efaar").glob("*.txt"))
        if not paths:
            raise ValueError(f"{folder}/annotation/efaar: found no *.txt, expected known pairs")
    known, pairs = {}, {}
    for name, path in by_name(paths).items():
        read = read_pairs(path)
        known[name] = locate(read, vocabulary.symbols, vocabulary.ensembl, str(path))
        pairs[name] = {"hash": fingerprint(path), "pairs": len(read), "found": len(known[name])}
    return known, pairs


class _Vectors:
    """The parts of a source of vectors."""

    def __init__(self, given, vocabulary, known, pairs, cells):
        self._given, self._genes, self._known, self._cells = given, vocabulary, known, cells
        self._pairs = pairs
        self._options = {key: given[key] for key in ("share", "sides")}
        self._options["sizes"] = list(given["sizes"])

    def _part(self, what, source, mark, found):
        def run():
            vectors = sources.on(source, self._genes)
            rows = {key: found(x, f"{source.model} {key}".strip()) for key, x in vectors.items()}
            named = {key: getattr(source, key) for key in ("model", "seed", "step", "kind")}
            return {"part": what, **named, "genes": len(self._genes), "vectors": rows}

        mark = {"vectors": source.mark, "name": source.model, "genes": self._genes.sha256, **mark}
        return Part(f"{what}-{source.key}", f"{what}: {source.key}", mark, run)

    def recall(self, source):
        """Known relations among the most similar pairs."""

        def found(x, name):
            one = relationship_recall(x, self._known, name=name, **self._options)
            for part in ("raw", "best"):
                one[part].pop("draws")
            return {**one, "databases": self._pairs}

        mark = {"pairs": self._pairs, **self._options}
        return self._part("recall", source, mark, found)

    def statistics(self, source):
        """R² of the genes' mean and variance."""
        components = self._given["components"]

        def found(x, name):
            return {
                scale: count_statistics.explained(x, y, components=components, name=name)
                for scale, y in self._cells.moments.items()
            }

        mark = {"cells": self._cells.mark, "components": components}
        return self._part("statistics", source, mark, found)

    def map(self, source):
        """UMAP with the markers of the cell types."""
        column = self._given["markers"]

        def found(x, name):
            markers = self._cells.markers(column, MARKERS)
            groups = np.full(len(x), "", dtype=object)
            for kind, rows in markers.items():
                groups[rows] = kind
            share, chance = gene_map.agreement(x, groups.astype(str), name)
            names = self._genes.names
            return {
                "agreement": share,
                "chance": chance,
                "markers": {k: [[i, names[i]] for i in rows] for k, rows in markers.items()},
                "places": np.round(gene_map.layout(x, name=name), 3).tolist(),
            }

        return self._part("map", source, {"cells": self._cells.mark, "markers": column}, found)


SUITE = Suite(
    title="Gene vectors",
    about="known relations, count statistics and cell-type markers in models' gene vectors;"
    " checkpoints called NAME-seed0, NAME-seed1 … are seeds of one model",
    arguments=_arguments,
    plan=_plan,
    blocks=genes_page.blocks,
    text=genes_page.text,
)
