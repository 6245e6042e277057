"""The folder of an exported model: what lies in it, and whether it is whole. Needs no JAX.

config.json holds ``format``, ``format_version`` (that of model folders), the model's ``config``,
its ``info`` (step, …), and hashes of itself, the tensors and the files beside it;
model.safetensors holds torch's names, in float32.
"""

import hashlib
import json
from pathlib import Path

from jaxcell.conversion.files import read_json
from jaxcell.training import formats

FORMAT = "jaxcell-torch"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
BESIDE = ("vocabulary.json", "labels.json", "ontologies.json", "tables.npz")


def read_description(folder):
    """config.json of an exported model, whose other files were found to be its own.

    Returns
    -------
    dict with config, info …

    Raises
    ------
    ValueError
        A file is missing, damaged or another model's; or the format is not known here.
    """
    path = Path(folder) / CONFIG
    found = read_json(path)
    if found.get("format") != FORMAT:
        raise ValueError(f"{path}: format: found {found.get('format')!r}, expected {FORMAT!r}")
    for key in ("config", "info", "sha256"):
        if not isinstance(found.get(key), dict):
            raise ValueError(f"{path}: {key}: found {found.get(key)!r}, expected names with values")
    if found.get("config_sha256") != config_sha256(found["config"]):
        raise ValueError(
            f"{path}: config: was changed since the model was exported, which makes another model "
            "of the same tensors; export it again"
        )
    formats.upgrade(found["config"], found.get("format_version"), path)
    for name in BESIDE:
        if not path.with_name(name).is_file():
            raise ValueError(f"{path.with_name(name)}: is missing; copy the whole folder")
        if found["sha256"].get(name) != sha256(path.with_name(name)):
            raise ValueError(
                f"{path.with_name(name)}: changed since the model was exported, or is another "
                "model's; copy the whole folder again"
            )
    return found


def config_sha256(config):
    """Hash of a config as JSON has it."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def changed(found, tensors):
    """What to say where an exported model's tensors are others than were exported; ''."""
    if found.get("tensors") == formats.tensors_sha256(tensors):
        return ""
    return "its tensors are not those that were exported: trained further, or damaged"


def sha256(path):
    """Hash of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
