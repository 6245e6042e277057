"""A corpus as data: a YAML file that names sources, filters, labels, splits, and what to expect.

``jaxcell/manifests`` holds those of the papers; `jaxcell.data.manifest_fields` every field.
"""

import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import yaml

from jaxcell.data import manifest_fields as known
from jaxcell.data.filters import Filters

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Entry:
    """One of the sources of a manifest; `at` is where it stands, for errors.

    The other attributes are the fields of the file: `manifest_fields.SOURCE`.
    """

    at: str
    name: str
    path: list
    about: str = ""
    where: str = "not stated"
    counts: str = "X"
    identifiers: str = "auto"
    duplicates: str = "error"
    allow_non_integer: bool = False
    measured_by: str | None = None
    dataset: str | None = None
    labels: dict = field(default_factory=dict)
    keep: dict = field(default_factory=dict)
    share: float = 1.0
    most: int | None = None
    filters: Filters = field(default_factory=Filters)
    split: str | None = None
    features: list = field(default_factory=list)
    value_filter: str | None = None
    measurement: str | None = None
    genes_in: str | None = None
    expect: dict = field(default_factory=dict)

    @property
    def kind(self):
        """What only some kinds of input take, for `open_source`."""
        given = {n: getattr(self, n) for n in ("value_filter", "measurement", "genes_in")}
        return {"features": self.features, **given}


@dataclass(frozen=True)
class Manifest:
    """A corpus, checked: `file` in `folder` says it, `content` is what store.json keeps of it.

    The other attributes are the fields of the file: `manifest_fields.CORPUS`.
    """

    file: str
    folder: Path
    content: dict
    name: str
    sources: tuple
    about: str = ""
    paper: str = ""
    caps: dict = field(default_factory=dict)
    labels: dict = field(default_factory=dict)
    split: dict = field(default_factory=dict)
    vocabulary: dict = field(default_factory=dict)
    gene_map: str | None = None
    orthologs: str | None = None
    values: str = "counts"
    hvg: dict = field(default_factory=dict)
    seed: int = 0
    shards: int | None = None
    compute: dict = field(default_factory=dict)
    expect: dict = field(default_factory=dict)

    @property
    def sha256(self):
        """Hash of the content, whatever the layout of the file and of its bases."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()


def shipped():
    """Names of the manifests inside the package, sorted."""
    folder = resources.files("jaxcell.manifests")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.suffix == ".yaml")


def read_manifest(given):
    """Read and check a manifest, and what it is based on.

    Parameters
    ----------
    given : path of a YAML file, or the name of one that is shipped (`shipped`)

    Returns
    -------
    Manifest

    Raises
    ------
    FileNotFoundError
        No such file or name.
    ValueError
        Not YAML, or a field that is unknown, missing or wrong: file, path of the field, what was
        found and what is expected.
    """
    path = _locate(given, None)
    return _corpus(_merged(path, ()), path)


def _locate(given, folder):
    """The file of a name or path; a base's path is relative to the folder of what names it."""
    place = Path(folder or ".") / str(given)
    if place.suffix in SUFFIXES and place.is_file():
        return place
    inside = resources.files("jaxcell.manifests") / f"{str(given).removesuffix('.yaml')}.yaml"
    if "/" not in str(given) and inside.is_file():
        return Path(str(inside))
    raise FileNotFoundError(
        f"manifest {given}: no such YAML file, and none of that name is shipped; shipped are "
        f"{', '.join(shipped())}"
    )


def _merged(path, chain):
    """What a file says, over what its base says; checked field by field."""
    if path.resolve() in chain:
        cycle = " → ".join(p.name for p in (*chain, path))
        raise ValueError(f"{path.name}: base: found a circle {cycle}, expected an end of it")
    own = _checked(_load(path), path.name)
    if not own.get("base"):
        return own
    try:
        below = _locate(own["base"], path.parent)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.name}: base: {error}") from None
    return _over(_merged(below, (*chain, path.resolve())), own, path.name)


def _load(path):
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a mapping of fields")
    return content


class _Loader(yaml.SafeLoader):
    """YAML without a field twice: the last would win in silence."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"{twice!r} stands twice in the mapping of line {line}")
        return super().construct_mapping(node, deep)


def _checked(content, file):
    """The fields of one file, each by its check; sources {name: fields}."""
    content = dict(content)
    entries = content.pop("sources", [])
    if not isinstance(entries, list):
        known.fail(f"{file}: sources", entries, "a list of sources, each with a name")
    found, sources = known.table(known.CORPUS)(content, f"{file}: "), {}
    for number, entry in enumerate(entries):
        at = f"{file}: sources[{number}]"
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            at += f" ({entry['name']})"
        entry = known.table(known.SOURCE)(entry, at)
        if not entry.get("name"):
            known.fail(f"{at}.name", None, "a name")
        if entry["name"] in sources:
            raise ValueError(f"{at}.name: found {entry['name']!r} again, expected another name")
        sources[entry["name"]] = {**entry, "at": at}
    return {**found, "sources": sources}


def _over(base, own, file):
    """Fields of `own` over those of `base`: mappings field by field, sources by their name."""
    absent = [name for name in own.get("remove") or () if name not in base["sources"]]
    if absent:
        known.fail(f"{file}: remove", absent[0], f"one of {', '.join(base['sources'])}")
    kept = {k: v for k, v in base["sources"].items() if k not in (own.get("remove") or ())}
    sources = _deep(kept, own["sources"])
    return {**_deep(base, own), "sources": sources}


def _deep(base, own):
    merged = dict(base)
    for name, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _deep(merged[name], value) if both else value
    return merged


def _corpus(found, path):
    """The Manifest of merged fields: what must be there is, and names refer to something."""
    file, found = path.name, _without_none(found)
    filters, entries = found.pop("filters", {}), found.pop("sources")
    for unused in ("base", "remove"):
        found.pop(unused, None)
    content = json.loads(json.dumps({**found, "filters": filters, "sources": entries}, default=str))
    for entry in content["sources"].values():
        entry.pop("at")  # tells of the file's layout
    if not found.get("name"):
        known.fail(f"{file}: name", None, "a name for the corpus")
    if not entries:
        known.fail(f"{file}: sources", [], "one source or more")
    sources = tuple(_entry(entry, filters, found.get("labels", {})) for entry in entries.values())
    _refer(found, sources, file)
    return Manifest(file, path.parent, content, sources=sources, **found)


def _entry(entry, filters, labels):
    at = entry["at"]
    if "path" not in entry:
        known.fail(f"{at}.path", None, "a file, glob, folder or soma:/census: address")
    absent = [name for name in entry.get("labels", {}) if name not in labels]
    if absent:
        known.fail(f"{at}.labels", absent[0], f"a label of the corpus: {_listed(labels)}")
    try:
        own = Filters(**{**filters, **entry.get("filters", {})})
    except ValueError as error:
        raise ValueError(f"{at}.filters: {error}") from None
    return Entry(**{**entry, "filters": own})


def _refer(found, sources, file):
    """Labels that are named elsewhere must be there, and options must fit together."""
    labels, split = found.get("labels", {}), found.get("split", {})
    for name in found.get("caps", {}):
        if name not in (*labels, "dataset"):
            known.fail(f"{file}: caps", name, f"dataset, or a label: {_listed(labels)}")
    places = [(f"{file}: expect", found.get("expect", {}))]
    for at, expect in (*places, *((f"{s.at}.expect", s.expect) for s in sources)):
        for name in expect.get("classes", {}):
            if name not in labels:
                known.fail(f"{at}.classes", name, f"a label: {_listed(labels)}")
    if "types" in split and split["types"] not in labels:
        known.fail(f"{file}: split.types", split["types"], f"a label: {_listed(labels)}")
    if ("by" in split) != ("share" in split) or split.get("share", 0.5) in (0, 1):
        known.fail(f"{file}: split", split, "'by' with a 'share' above 0 and below 1")
    if "types" in split and split.get("by") != "dataset":
        known.fail(f"{file}: split.types", split["types"], "it with 'by: dataset' alone")
    for name, needs in (("hvg", "number"), ("vocabulary", "file")):
        if found.get(name) and needs not in found[name]:
            known.fail(f"{file}: {name}.{needs}", None, "a value")
    compute = found.get("compute", {})
    if compute and not {"cells", "epochs"} <= compute.keys():
        known.fail(f"{file}: compute", compute, "the 'cells' and 'epochs' of the budget")


def _listed(names):
    return ", ".join(names) or "none is there"


def _without_none(value):
    """Mappings without the fields that are null; a source's labels keep theirs."""
    if not isinstance(value, dict):
        return value
    return {
        name: ({**one} if name == "labels" and _columns(one) else _without_none(one))
        for name, one in value.items()
        if one is not None
    }


def _columns(labels):
    """Whether these are the labels of a source, {label: column}, and not of the corpus."""
    return isinstance(labels, dict) and not any(isinstance(v, dict) for v in labels.values())
