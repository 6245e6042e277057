"""A corpus as data: a YAML file that names sources, filters, labels, splits, and what to expect.

``jaxcell/manifests`` holds those of the papers, `jaxcell.data.corpora.fields` tells every field.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from jaxcell.data.corpora import fields as known
from jaxcell.data.corpora.files import locate, merged
from jaxcell.data.filters import Filters


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
    path = locate(given)
    return _corpus(merged(path), path)


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
