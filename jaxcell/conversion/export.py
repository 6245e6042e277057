"""A model of ours → a folder that PyTorch reads, see `jaxcell.conversion.torch_model`."""

import json

import numpy as np

from jaxcell import __version__, config
from jaxcell.conversion.exported import BESIDE, CONFIG, FORMAT, WEIGHTS, config_sha256, sha256
from jaxcell.conversion.rules.jaxcell import rules_of
from jaxcell.conversion.torch import tensors_of
from jaxcell.training import formats
from jaxcell.training.checkpoint import FILES, TENSORS, flatten, save_beside, save_tensors
from jaxcell.training.rows import row_axes
from jaxcell.writing import whole_folder


def export(model, out):
    """Write a model for PyTorch: model.safetensors, config.json and what its cells and labels need.

    The tensors are the parameters as they were trained, in torch's layouts and without the rows
    that pad gene tables. `jaxcell.convert` makes the same model folder of it again. Everything is
    written beside ``out`` and renamed, so that ``out`` is whole or not there.

    Parameters
    ----------
    model : Model, see `jaxcell.training.checkpoint.load_model`
    out : folder to write; must not exist

    Returns
    -------
    names of the tensors

    Raises
    ------
    ValueError
        ``out`` exists, or its folder does not; a parameter that has no name in torch, or holds NaN.
    """
    tensors = tensors_of_model(model.variables, model.config.model)
    with whole_folder(out, sum(x.nbytes for x in tensors.values())) as folder:
        for name, x in tensors.items():
            if not np.isfinite(x).all():
                raise ValueError(f"the tensor {name} holds NaN or infinite values")
        save_tensors(tensors, folder / WEIGHTS, {"format": "pt"})
        save_beside(folder, model)
        description = {
            "format": FORMAT,
            "format_version": formats.VERSION,
            "jaxcell": __version__,
            # Hashes of a model folder's files are not those of this folder's.
            "info": dict(sorted(_own(model.info))),
            "sha256": {name: sha256(folder / name) for name in BESIDE},
            "config": (c := json.loads(config.to_json(model.config))),
            "config_sha256": config_sha256(c),
            TENSORS: formats.tensors_sha256(tensors),
        }
        (folder / CONFIG).write_text(json.dumps(description, indent=1), encoding="utf-8")
    return tuple(tensors)


def _own(info):
    """Names and texts of what a model folder says of its model, and not of its files."""
    # safetensors give them in an order that changes from one reading to the next.
    return ((k, str(v)) for k, v in info.items() if k not in (*FILES, TENSORS))


def tensors_of_model(variables, spec):
    """{torch's name: array} of {'params': …, 'batch_stats': …}; spec : the config's ``model``."""
    flat = flatten(variables)
    rules = rules_of({path: leaf.shape for path, leaf in flat.items()}, row_axes(spec))
    tokens = spec.vocabulary + len(spec.specials)
    return tensors_of(flat, rules, rows=np.arange(tokens), genes=spec.vocabulary)
