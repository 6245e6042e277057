"""From an exported folder to a `CellModel`."""

import json
import warnings
from pathlib import Path

import numpy as np
import torch

from jaxcell.conversion.exported import WEIGHTS, changed, read_description
from jaxcell.conversion.files import read_weights
from jaxcell.conversion.torch_model.cell import CellModel
from jaxcell.training.formats import read_tables


def load(folder, device="cpu"):
    """The model of a folder that ``jaxcell convert MODEL FOLDER --to torch`` wrote.

    Parameters
    ----------
    folder : with config.json, model.safetensors, vocabulary.json …
    device : where its parameters go

    Returns
    -------
    CellModel, in evaluation mode

    Raises
    ------
    ValueError
        A file is missing, damaged, of another format or another model's; a tensor is missing,
        unexpected, of another shape or type, or holds NaN; the config asks for something that is
        not known here.
    """
    folder = Path(folder)
    description = read_description(folder)
    config = description["config"]
    try:
        with torch.device("meta"):  # shapes alone: the numbers come from the file
            model = CellModel(config)
    except ValueError as error:  # names the field
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    except (KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{folder / 'config.json'}: describes no model that is known here "
            f"({type(error).__name__}: {error}); export it again with this jaxcell: "
            "jaxcell convert MODEL FOLDER --to torch"
        ) from error
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ValueError(f"{weights}: is missing; copy the whole folder")
    tensors, _ = read_weights(weights)
    _check(tensors, model.state_dict(), weights)
    if said := changed(description, tensors):
        warnings.warn(f"{weights}: {said}", stacklevel=2)
    state = {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}
    model.load_state_dict(state, strict=True, assign=True)
    genes = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    model.symbols, model.ensembl = tuple(genes["symbols"]), tuple(genes["ensembl"])
    pairs = zip(model.symbols, model.ensembl, strict=True)
    model.vocabulary = tuple(symbol or ensembl for symbol, ensembl in pairs)
    model.labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    model.tables = read_tables(folder / "tables.npz")
    return model.to(device).eval()


def _check(tensors, expected, where):
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors or name not in expected:
            what = "missing" if name in expected else "not part of its config's model"
            raise ValueError(f"{where}: the tensor {name} is {what}")
        x, shape = tensors[name], tuple(expected[name].shape)
        if x.shape != shape:
            raise ValueError(
                f"{where}: the tensor {name} has shape {x.shape}, its config asks for {shape}"
            )
        if x.dtype != np.float32:
            raise ValueError(f"{where}: the tensor {name} is of type {x.dtype}, expected float32")
        if not np.isfinite(x).all():
            raise ValueError(f"{where}: the tensor {name} holds NaN or infinite values")
