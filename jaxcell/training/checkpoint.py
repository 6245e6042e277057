"""The ``model/`` folder that a run leaves behind, which travels; and a saved step taken for one."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxcell import config, hub
from jaxcell.data.ontology import Ontology
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.files import near
from jaxcell.models.cell import CellModel
from jaxcell.sharding import path_of
from jaxcell.training import checksums, formats, lora
from jaxcell.training.formats import read_tables, tensors_sha256, unflatten
from jaxcell.training.saved_steps import host_arrays, said
from jaxcell.writing import writing

VERSION = "format_version"  # a file of the folder that names its format


def flatten(tree):
    """Nested dict of arrays (or shapes) → {'a/b/c': array}."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    return {path_of(keys): leaf for keys, leaf in leaves}


@dataclass
class Model:
    """A checkpoint's ``model/`` folder in memory.

    variables : {'params': …, 'batch_stats': …} of numpy arrays
    tables : arrays that travel with the model: mean [R], measured [G, R], gene_set [datasets],
        and what fields and losses need
    ontologies : {label: Ontology} of the labels whose logits are an ontology's leaves
    info : strings beside the tensors: step, the metric it was chosen by, hash of the store
    """

    config: object
    vocabulary: Vocabulary
    labels: dict
    variables: dict
    tables: dict
    info: dict
    ontologies: dict = field(default_factory=dict)

    @property
    def sha256(self):
        """Hash of config.json as saved, the vocabulary, and every parameter's path and bytes."""
        # Not of the config in memory, into which a call may have put its own settings.
        digest = hashlib.sha256(self.info["config.json"].encode())
        digest.update(self.vocabulary.sha256.encode())
        formats.update(digest, flatten(self.variables))
        return digest.hexdigest()


def save_model(workdir, model):
    """Write ``WORKDIR/model`` beside the old one and swap, so that it is always whole."""
    target = Path(workdir) / "model"
    new, old = target.with_name("model.new"), target.with_name("model.old")
    shutil.rmtree(new, ignore_errors=True)
    with writing(target, needs=sum(x.nbytes for x in jax.tree.leaves(model.variables))):
        new.mkdir(parents=True)
        write_model(new, model)
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def write_model(folder, model):
    """Write a model's files into an empty folder."""
    (folder / "config.json").write_text(config.to_json(model.config))
    save_beside(folder, model)
    info = {k: str(v) for k, v in model.info.items()}
    info |= {name: _sha256(folder / name) for name in HASHED}
    flat = flatten(model.variables)
    info[TENSORS] = tensors_sha256(flat)
    save_tensors(flat, folder / "model.safetensors", info)
    (folder / VERSION).write_text(f"{formats.VERSION}\n")


def save_tensors(flat, path, info):
    """Write {name: array} and strings; whoever may read the other files may read this one too."""
    path.touch()
    mode = path.stat().st_mode
    save_file(flat, path, metadata=info)  # puts a file of its own there, its owner's alone
    path.chmod(mode)


def save_beside(folder, model):
    """Write what belongs to a model beside its config and tensors."""
    model.vocabulary.save(folder / "vocabulary.json")
    (folder / "labels.json").write_text(json.dumps(model.labels, indent=1))
    np.savez(folder / "tables.npz", **flatten(model.tables))
    texts = {label: json.loads(o.to_json()) for label, o in model.ontologies.items()}
    (folder / "ontologies.json").write_text(json.dumps(texts))


FILES = (
    *("config.json", "vocabulary.json", "labels.json", "ontologies.json", "tables.npz"),
    "model.safetensors",
)
TENSORS = "tensors"  # its metadata have the hash of its tensors too
HASHED = FILES[:-1]  # the tensors' own file names the hashes of the others


def load_model(path):
    """Read a model from a workdir, a step folder in its checkpoints, a model folder, or the Hub.

    Parameters
    ----------
    path : folder; or 'hf://ORG/NAME[@REVISION]', whose commit is noted in the model's ``info``

    Raises
    ------
    ValueError
        When there is no model, a file is missing, damaged or of another model, a tensor has not the
        shape that the config asks for, the folder's format is not known to this version, or the
        Hub does not give it, see `jaxcell.hub.fetch`.
    ImportError
        An address on the Hub, and no huggingface_hub.
    """
    if hub.is_address(path):
        folder = hub.fetch(path)
        model = load_model(folder)
        model.info["revision"] = folder.name
        return model
    path = Path(path)
    if (path / "state").is_dir() and path.parent.name == "checkpoints":
        _whole(path, checksums.check)
        model = load_model(path.parent.parent)
        state = _whole(path / "state", host_arrays)
        params = jax.device_get(lora.merged(state["params"], model.config.train.lora))
        model.variables = {"params": params, "batch_stats": state["batch_stats"]}
        kept = ("store", *HASHED)
        model.info = {"step": path.name, **{k: model.info[k] for k in kept if k in model.info}}
        _check_tensors(model, path)
        return model
    folder = _model_folder(path)
    version = _whole(folder / VERSION, Path.read_text).strip()
    formats.upgrade({}, version, folder)  # or a refusal, before anything is read
    weights = folder / "model.safetensors"
    info = _whole(weights, _metadata) if weights.exists() else {}
    if weights.exists() and "config.json" not in info:
        raise ValueError(
            f"{weights}: lacks the hashes of the files beside it; another program has rewritten "
            "it: copy the whole model folder again"
        )
    files = [name for name in FILES if name != "ontologies.json" or name in info or version != "1"]
    known = "ontologies.json" in files
    for name in files:
        if not (folder / name).exists():
            raise ValueError(f"{folder}: {name} is missing; copy the whole model folder")
    for name in files[:-1]:
        if info.get(name) != _sha256(folder / name):
            raise ValueError(
                f"{folder / name}: changed since the model was saved, or is another model's; copy "
                "the whole model folder again"
            )
    model = Model(
        config=_whole(folder / "config.json", lambda f: _config(f, version)),
        vocabulary=Vocabulary.load(folder / "vocabulary.json"),
        labels=json.loads((folder / "labels.json").read_text()),
        variables={"batch_stats": {}, **unflatten(_whole(weights, load_file))},
        tables=read_tables(folder / "tables.npz"),
        ontologies=read_ontologies(folder / "ontologies.json") if known else {},
        info=info,
    )
    _check_tensors(model, weights)
    # safetensors have no checksum of their own.
    if version != "1" and info.get(TENSORS) != tensors_sha256(flatten(model.variables)):
        raise ValueError(f"{weights}: its tensors are not those that were saved; copy it again")
    return model


def _model_folder(path):
    # A run killed between the two renames of save_model leaves the old model under its other name.
    for folder in (path, path / "model", path / "model.old"):
        if (folder / VERSION).exists():
            return folder
    foreign = path.is_dir() and any(p.suffix in hub.WEIGHTS for p in path.iterdir())
    hint = f". If it is one of PyTorch: jaxcell convert {path} OUT" if foreign else ""
    hint = hint or ("; `jaxcell train` makes one" if path.exists() else near(path))
    raise ValueError(
        f"{path}: no model there; expected a training run's workdir, one of its "
        f"checkpoints/<step> folders, or a model folder with {', '.join(FILES)}{hint}"
    )


def _check_tensors(model, where):
    expected = flatten(CellModel(model.config.model).shapes())
    found = flatten(model.variables)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            what = "missing" if name in expected else "not part of its config's model"
            raise ValueError(f"{where}: the tensor {name} is {what}")
        if found[name].shape != expected[name].shape:
            raise ValueError(
                f"{where}: the tensor {name} has shape {found[name].shape}, its config asks for "
                f"{expected[name].shape}"
            )
        if found[name].dtype != expected[name].dtype:
            raise ValueError(
                f"{where}: the tensor {name} is of type {found[name].dtype}, expected "
                f"{expected[name].dtype}"
            )
        if not np.isfinite(found[name]).all():
            raise ValueError(
                f"{where}: the tensor {name} holds NaN or infinite values; take another step, or "
                "copy it again"
            )


def _whole(path, read):
    """``read(path)``; whatever goes wrong inside becomes an error that names the file."""
    try:
        return read(path)
    except Exception as error:
        raise ValueError(f"{path}: is damaged ({said(error)}); copy it again") from error


def _config(path, version):
    return config.from_json(
        json.dumps(formats.upgrade(json.loads(path.read_text()), version, path))
    )


def read_ontologies(path):
    """{label: Ontology} of ontologies.json."""
    texts = json.loads(path.read_text())
    return {label: Ontology.from_json(json.dumps(one)) for label, one in texts.items()}


def _metadata(path):
    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
