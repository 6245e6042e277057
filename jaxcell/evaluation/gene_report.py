"""relations: gene vectors beside random ones and PCA, as results.json, report.md and pictures."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcell.data.genes import identify
from jaxcell.data.types import Cells, StrPath
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.files import near
from jaxcell.palette import FAINT, GRID, INK, LINE, PALETTE
from jaxcell.progress import each
from jaxcell.writing import check_fillable, filled_folder

from . import gene_baselines
from .inputs import check_extra
from .relations import SIZES, by_name, centred, locate, read_pairs, relationship_recall
from .tables import markdown

RANDOM = "random vectors"
PCA = "PCA (transpose fit)"
MEAN = "mean"


def relations(
    genes: Cells,
    pairs: StrPath | Sequence[StrPath],
    *,
    out: StrPath,
    keys: Sequence[str] | None = None,
    cells: Cells | None = None,
    counts: str = "X",
    sizes: Sequence[int] = SIZES,
    share: float = 0.05,
    sides: str = "top",
    seed: int = 0,
    allow_non_integer: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure how many known relations gene vectors recall: ``jaxcell.relations``.

    Parameters
    ----------
    genes : AnnData or path of an h5ad whose obs are genes and whose obsm are vectors of them, as
        ``jaxcell.genes`` makes it
    pairs : paths of files of known pairs, a database each, called by its file's name
    out : folder of the report; made if absent
    keys : entries of ``obsm``; all by default
    cells : AnnData or path of an h5ad of raw counts, for the PCA of the transposed counts (at most
        10 000 cells); all vectors are then compared on the genes that it has
    counts : where the counts are in ``cells``
    sizes, share, sides : see ``relationship_recall``
    seed : of random vectors, the cells drawn, PCA and the bootstrap
    allow_non_integer : take counts that are not whole numbers
    progress : whether to show a bar

    Returns
    -------
    dict, as in results.json: ``meta``, ``results`` {vectors: what ``relationship_recall`` returns}

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        About the input, before anything is written.
    """
    check_extra()
    out = Path(out)
    check_fillable(out, "relations")
    where, names, vectors = read_genes(genes, keys)
    vocabulary = Vocabulary(names.symbols, names.ensembl)
    kept = np.ones(len(names), bool)
    if cells is not None:
        matrix, kept = gene_baselines.read_counts(
            cells, vocabulary, counts=counts, allow_non_integer=allow_non_integer, seed=seed
        )
    shown = vocabulary.subset(kept)
    known, databases = {}, {}
    named = by_name([pairs] if isinstance(pairs, str | Path) else pairs)
    for name, path in named.items():
        read = read_pairs(path)
        known[name] = locate(read, shown.symbols, shown.ensembl, str(path))
        databases[name] = {"pairs": len(read), "found": len(known[name])}
    if not known:
        raise ValueError("pairs: name at least one file of known pairs")

    methods = {name: x[kept] for name, x in vectors.items()}
    width = max(x.shape[1] for x in methods.values())
    if cells is not None:
        methods[PCA] = gene_baselines.transposed_pca(matrix[:, kept], max(sizes), seed)
    methods[RANDOM] = gene_baselines.random_vectors(int(kept.sum()), width, seed)
    options = dict(sizes=sizes, share=share, sides=sides, seed=seed)
    found = {}
    for name, x in each(list(methods.items()), "relations", "method", progress):
        found[name] = relationship_recall(x, known, name=name, **options)
        for part in ("raw", "best"):
            found[name][part].pop("draws")
    results = {
        "meta": {
            "vectors": where,
            "genes": len(names),
            "genes_compared": int(kept.sum()),
            "databases": databases,
            "cells": None if cells is None else _name(cells),
            "share": share,
            "sides": sides,
            "seed": seed,
        },
        "results": found,
    }
    _write(out, results)
    return results


def _name(data):
    return str(data) if isinstance(data, str | Path) else "AnnData"


def read_genes(genes, keys=None):
    """Name of the source, GeneNames [V], {key: [V, D]}; without genes that were not trained.

    ``genes`` and ``keys`` as in `relations`, which says what is refused.
    """
    import anndata

    where = _name(genes)
    if not isinstance(genes, anndata.AnnData):
        if not Path(genes).is_file():
            raise FileNotFoundError(
                f"{genes}: no such file; relations reads an h5ad of genes, which `jaxcell genes` "
                f"writes{near(genes)}"
            )
        genes = anndata.read_h5ad(genes)
    if "trained" in genes.obs:  # the vectors of others are as they were drawn
        genes = genes[genes.obs["trained"].to_numpy(bool)]
    keys = list(genes.obsm) if keys is None else list(keys)
    absent = [key for key in keys if key not in genes.obsm]
    if absent or not keys:
        raise ValueError(
            f"{where}: obsm has {', '.join(genes.obsm) or 'no entry'}, not "
            f"{', '.join(absent) or 'the vectors of genes'}; `jaxcell genes` writes such a file"
        )
    for key in keys:
        centred(genes.obsm[key], f"{where}: obsm[{key!r}]")  # refuse before it is cut
    names = identify(genes.obs, where=where)
    return where, names, {key: np.asarray(genes.obsm[key]) for key in keys}


def _write(out, results):
    results["meta"]["figures"] = {}
    with filled_folder(out) as made:
        for database in [MEAN, *results["meta"]["databases"]]:
            file = f"recall_{re.sub(r'[^A-Za-z0-9]+', '_', database)}.png"
            recall_figure(made / file, results, database)
            results["meta"]["figures"][database] = file
        text = json.dumps(results, indent=1, allow_nan=False) + "\n"
        (made / "results.json").write_text(text, encoding="utf-8")
        (made / "report.md").write_text(page(results), encoding="utf-8")


def _percent(part, database):
    return f"{100 * part['recall'][database]:.1f} ± {100 * part['sd'][database]:.1f}"


def rows(results):
    """Header and rows of the paper's Table 4, then the best PCA size by database; in percent."""
    databases = list(results["meta"]["databases"])
    header = ["vectors", "D", "recall (raw)", "recall (PCA)", "n", *databases]
    body = [
        [name, str(row["dimensions"]), _percent(row["raw"], MEAN), _percent(row["best"], MEAN)]
        + [str(row["best"]["n"])]
        + [f"{100 * row['best']['recall'][d]:.1f}" for d in databases]
        for name, row in results["results"].items()
    ]
    return header, body


def format_recall(results):
    """The table as plain text, for the end of a run."""
    header, body = rows(results)
    width = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    lines = [
        "  ".join([r[0].ljust(width[0]), *map(str.rjust, r[1:], width[1:])])
        for r in [header, *body]
    ]
    lines.insert(1, "─" * len(lines[0]))
    return "\n".join([*lines, "", how(results)])


def how(results):
    """One sentence on what the numbers are."""
    meta = results["meta"]
    ends = "most similar" if meta["sides"] == "top" else "most and of the least similar"
    found = ", ".join(f"{n} {d['found']}" for n, d in meta["databases"].items())
    return (
        f"Percent of the known pairs ({found}) among the {meta['share']:.0%} {ends} pairs of "
        f"{meta['genes_compared']} genes ({meta['genes']} in the file); mean over databases ± sd "
        "of a bootstrap over genes; n: the PCA size of the highest mean; databases at that size."
    )


def page(results):
    """report.md."""
    meta = results["meta"]
    share = {n: f"{d['found']} of {d['pairs']}" for n, d in meta["databases"].items()}
    parts = [f"# Relations between genes\n\n`{meta['vectors']}`", markdown(*rows(results))]
    parts += [how(results)]
    parts += [f"![recall, {name}]({file})" for name, file in meta["figures"].items()]
    parts += ["## How it was measured"]
    parts += [
        "- Pairs with both genes: " + "; ".join(f"{n} {s}" for n, s in share.items()) + ".\n"
        "- Vectors are centred over genes and compared by cosine; a pair is predicted where its"
        f" cosine is beyond those of {meta['share']:.0%} of all pairs of different genes, at"
        f" {'the upper end' if meta['sides'] == 'top' else 'either end'}.\n"
        "- Chance recalls"
        f" {meta['share'] * (1 if meta['sides'] == 'top' else 2):.0%}: that is what the paper's"
        " random vectors (4.9) show for the upper end alone.\n"
        f"- {PCA}: (Lib+Log)Norm counts of"
        f" {meta['cells'] or 'no cells (not measured)'}, genes as samples, cells as features.\n"
        f"- Seed {meta['seed']}."
    ]
    return "\n\n".join(parts) + "\n"


def recall_figure(path, results, database):
    """Recall against the PCA size, a line for each kind of vectors; hollow: raw."""
    from matplotlib.figure import Figure

    figure = Figure((5.6, 3.9), dpi=140, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    table = results["results"]
    ends = []
    for i, (name, row) in enumerate(table.items()):
        colour = FAINT if name == RANDOM else PALETTE[i % len(PALETTE)]
        sizes = list(row["pca"])
        y = [100 * row["pca"][k][database] for k in sizes]
        axes.plot(sizes, y, "o-", color=colour, ms=4.5, lw=1.6, label=name)
        raw = 100 * row["raw"]["recall"][database]
        if row["dimensions"] != sizes[-1]:
            axes.plot([sizes[-1], row["dimensions"]], [y[-1], raw], ":", color=colour, lw=1.2)
        axes.plot(row["dimensions"], raw, "o", mfc="white", color=colour, ms=6.5)
        ends += [row["dimensions"], *sizes]
    title = "mean over databases" if database == MEAN else database
    axes.set_title(f"Known relations recalled: {title}", size=11, color=INK, loc="left")
    ticks = sorted(set(ends))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(t) for t in ticks], size=8, color=INK)
    axes.minorticks_off()
    axes.set_xlabel("PCA size (hollow: vectors as they are)", size=9, color=INK)
    axes.set_ylabel("recall, %", size=9, color=INK)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8, color=LINE)
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    figure.savefig(path, metadata={"Software": None})
