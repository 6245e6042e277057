"""What `prepare` is asked for: by options and files, or by a manifest; checked before it reads."""

from dataclasses import dataclass, field
from pathlib import Path

import anndata

from jaxcell.data.corpora.manifest import Manifest, read_manifest
from jaxcell.data.corpora.places import beside
from jaxcell.data.filters import Filters
from jaxcell.data.preparing.inputs import Input, open_inputs
from jaxcell.data.preparing.refusals import check_values
from jaxcell.data.sources import expand, open_source
from jaxcell.data.sources.opening import place_of
from jaxcell.data.sources.presence import column_of
from jaxcell.data.splits import parse_hold_out
from jaxcell.data.variable_genes import check_options

# What a manifest leaves to the caller.
BESIDE = (
    "out", "files", "manifest", "data", "only", "allow_different_counts", "gene_map", "shards",
    "progress", "beam",
)  # fmt: skip
FILTERS = tuple(Filters.__dataclass_fields__)


@dataclass
class Order:
    """What a store is to be made of, and how.

    inputs : list of Input
    labels : list of str, obs columns of the inputs' sources
    hold_out : list of (column, value)
    fraction : share of the other cells drawn for validation
    seed, gene_map, vocabulary, values, hvg, hvg_flavor, hvg_batch, shards, orthologs, features : as
        `prepare` takes them
    options : dict, what store.json keeps
    manifest : Manifest or None
    whole : whether these are all of its sources
    allow : whether numbers may differ from what the manifest expects
    """

    inputs: list
    labels: list
    hold_out: list
    fraction: float = 0.0
    seed: int = 0
    gene_map: str | None = None
    vocabulary: object = None
    values: str = "counts"
    hvg: int | None = None
    hvg_flavor: str | None = None
    hvg_batch: str | None = None
    shards: int | None = None
    orthologs: str | None = None
    features: list = field(default_factory=list)
    options: dict = field(default_factory=dict)
    manifest: Manifest | None = None
    whole: bool = True
    allow: bool = False

    @property
    def splits(self):
        """Whether cells for validation are asked for."""
        by_manifest = self.manifest is not None and bool(self.manifest.split)
        held = any(one.whole == "valid" for one in self.inputs)
        return bool(self.hold_out or self.fraction or held or by_manifest)


def order_files(asked):
    """The order of a call of `prepare` with files: {its argument: value} -> Order.

    Raises
    ------
    FileNotFoundError, ValueError
        About the options and files.
    """
    labels, hold_out = asked["labels"], parse_hold_out(asked["hold_out"])
    labels = [labels] if isinstance(labels, str) else list(labels)
    filters = Filters(**{name: asked[name] for name in FILTERS})
    filters.check_values(asked["values"])
    flavor = (asked["hvg_flavor"] or "seurat") if asked["hvg"] else None
    features = [asked["features"]] if isinstance(asked["features"], str) else asked["features"]
    kinds = {
        "features": list(features), "value_filter": asked["soma_filter"],
        "measurement": asked["soma_measurement"], "genes_in": asked["genes_in"],
    }  # fmt: skip
    opened = _open_all(asked["files"], asked["hold_out_file"], asked["counts"], kinds)
    each = {n: asked[n] for n in ("identifiers", "duplicates", "allow_non_integer")}
    each["measured_by"] = asked["measured_by"] or column_of([source for source, _ in opened])
    same = ("seed", "values", "hvg", "hvg_batch", "orthologs")
    order = Order(
        [
            Input(source, filters=filters, whole="valid" if held else None, **each)
            for source, held in opened
        ],
        labels,
        hold_out,
        fraction=asked["hold_out_fraction"],
        hvg_flavor=flavor,
        features=kinds["features"],
        **{name: asked[name] for name in (*same, "gene_map", "vocabulary", "shards")},
    )
    order.options = {
        "counts": asked["counts"], "labels": labels, "hold_out": list(map("=".join, hold_out)),
        "hold_out_file": [source.name for source, held in opened if held],
        "hold_out_fraction": order.fraction, **{name: asked[name] for name in same},
        "orthologs": asked["orthologs"] and str(asked["orthologs"]),
        "min_genes": filters.min_genes, "min_cells": filters.min_cells, **filters.asked,
        "hvg_flavor": flavor, **each, **{name: given for name, given in kinds.items() if given},
    }  # fmt: skip
    return order


def order_manifest(asked, defaults):
    """The order of a call with a manifest, which says all but what is in BESIDE.

    asked, defaults : {argument of `prepare`: value}

    Raises
    ------
    FileNotFoundError, ValueError
        About the manifest and the files that it names; or an option that the manifest is to say.
    """
    _refuse_options(asked, defaults)
    manifest = read_manifest(asked["manifest"])
    data, only = asked["data"] or ".", asked["only"]
    only = [only] if isinstance(only, str) else list(only)
    split, hvg = manifest.split, manifest.hvg
    vocabulary = manifest.vocabulary.get("file")
    gene_map = asked["gene_map"] or (
        manifest.gene_map and beside(manifest.gene_map, manifest, data)
    )
    _check_together(manifest)
    order = Order(
        open_inputs(manifest, data, only),
        list(manifest.labels),
        parse_hold_out(split.get("hold_out")),
        fraction=split["share"] if split.get("by") == "cell" else 0.0,
        seed=manifest.seed,
        gene_map=gene_map,
        vocabulary=vocabulary and beside(vocabulary, manifest, data),
        values=manifest.values,
        hvg=hvg.get("number"),
        hvg_flavor=hvg.get("flavor", "seurat") if hvg else None,
        hvg_batch=hvg.get("batch"),
        shards=asked["shards"] or manifest.shards,
        orthologs=manifest.orthologs and beside(manifest.orthologs, manifest, data),
        features=sorted({kind for entry in manifest.sources for kind in entry.features}),
        manifest=manifest,
        whole=not only,
        allow=asked["allow_different_counts"],
    )
    order.options = {
        "manifest": manifest.content,
        "manifest_sha256": manifest.sha256,
        "only": only,
        "hvg": order.hvg,
        "hvg_flavor": order.hvg_flavor,
        "hvg_batch": order.hvg_batch,
    }
    return order


def _check_together(manifest):
    """Fields that do not go with others, before any file is opened."""
    hvg = manifest.hvg
    try:
        check_options(hvg.get("number"), hvg.get("flavor"), hvg.get("batch"))
    except ValueError as error:
        raise ValueError(f"{manifest.file}: hvg: {error}") from None
    for entry in manifest.sources:
        try:
            check_values(manifest.values, entry.duplicates, hvg.get("number"))
            entry.filters.check_values(manifest.values)
        except ValueError as error:
            raise ValueError(f"{entry.at}: {error}") from None


def _refuse_options(asked, defaults):
    manifest = asked["manifest"]
    if len(_listed(asked["files"])):
        raise ValueError(
            f"found files ({_listed(asked['files'])[0]} …) beside the manifest {manifest}; "
            "expected them in the manifest, or no manifest"
        )
    for name, default in defaults.items():
        if name not in BESIDE and _plain(asked[name]) != _plain(default):
            raise ValueError(
                f"{name} is {asked[name]!r} beside the manifest {manifest}; expected it in a "
                "manifest of your own, which may be based on that one (base:)"
            )


def _plain(value):
    """An option without the difference between no list and an empty one."""
    return (list(value) or None) if isinstance(value, list | tuple) else value


def _open_all(files, hold_out_file, counts, kinds):
    """Sources, each under a name of its own, and whether each is wholly for validation."""
    files, held = expand(files), expand(hold_out_file)
    held_places = [_place(file) for file in held]
    places = [_place(file) for file in files]
    for file, place in zip(files, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{file} is given twice; name each file once")
    files += [file for file in held if _place(file) not in places]
    if not files:
        raise ValueError("no input: give one or more files of raw counts, or a manifest")
    given = {option: value for option, value in kinds.items() if value}
    sources = [open_source(file, counts=counts, **given) for file in files]
    in_memory = [source for source in sources if source.name == "AnnData"]
    for number, source in enumerate(in_memory if len(in_memory) > 1 else [], 1):
        source.name = f"AnnData {number}"
    return list(zip(sources, [_place(file) in held_places for file in files], strict=True))


def _listed(files):
    return [files] if isinstance(files, str | Path | anndata.AnnData) else list(files)


def _place(file):
    """The same for two spellings of a path: no file may be in both splits."""
    return id(file) if isinstance(file, anndata.AnnData) else place_of(file)
