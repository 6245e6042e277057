"""The YAML files of manifests: found by name or path, read, and laid over their bases."""

from importlib import resources
from pathlib import Path

import yaml

from jaxcell.data.corpora import fields as known
from jaxcell.registry import did_you_mean

SUFFIXES = (".yaml", ".yml")


def shipped():
    """Names of the manifests inside the package, sorted."""
    folder = resources.files("jaxcell.manifests")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.suffix == ".yaml")


def locate(given, folder=None):
    """The file of a name or path; a base's path is relative to the folder of what names it.

    Raises
    ------
    FileNotFoundError
        There is none; the message lists the shipped names.
    """
    place = Path(folder or ".") / str(given)
    if place.suffix in SUFFIXES and place.is_file():
        return place
    inside = resources.files("jaxcell.manifests") / f"{str(given).removesuffix('.yaml')}.yaml"
    if "/" not in str(given) and inside.is_file():
        return Path(str(inside))
    raise FileNotFoundError(
        f"manifest {given}: no such YAML file, and none of that name is shipped; shipped are "
        f"{', '.join(shipped())}{did_you_mean(given, shipped())}"
    )


def merged(path, chain=()):
    """What a file says over what its base says, field by field; each is checked.

    Returns
    -------
    dict, with ``sources`` {name: fields}; ``at`` of these says where they stand

    Raises
    ------
    FileNotFoundError, ValueError
        No such base, or a circle of them; not YAML; a field that is unknown or wrong.
    """
    if path.resolve() in chain:
        cycle = " → ".join(p.name for p in (*chain, path))
        raise ValueError(f"{path.name}: base: found a circle {cycle}, expected an end of it")
    own = _checked(_load(path), path.name)
    if not own.get("base"):
        if own.get("remove"):
            known.fail(
                f"{path.name}: remove", own["remove"], "a base (base:) that has these sources"
            )
        return own
    try:
        below = locate(own["base"], path.parent)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.name}: base: {error}") from None
    return _over(merged(below, (*chain, path.resolve())), own, path.name)


def _load(path):
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
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
