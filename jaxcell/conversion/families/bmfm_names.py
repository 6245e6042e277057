"""Older checkpoints of BMFM-RNA by the names of today's, and the settings that come with them."""

import re

import numpy as np

from jaxcell.conversion.rules.bmfm_rna import BERT, LABELS, POOLER, TOKEN_HEAD, encoder_of

CONFIG = "config.json"
OLD_NAMES = {  # of a field's settings
    "masked_output_modes": "decode_modes",
    "continuous_value_encoder_kwargs": "encoder_kwargs",
}
CLASSIFIER = re.compile(r"classifier\.")  # the only one, of a label that its name does not tell
ONLY = "label"  # its name where nothing tells it
CLASSIFIERS = re.compile(r"classifiers\.([^.]+)\.")


def settings_of(source):
    """(settings of the model as a dict, where they stand); ({}, '') where there are none.

    From what Lightning keeps beside the tensors, or from config.json.

    Raises
    ------
    ValueError
        Fields or labels are no lists of names with values.
    """
    found, where = source.told.get("model_config"), f"{source.weights.name}: model_config"
    if not isinstance(found, dict):
        if not source.weights.with_name(CONFIG).is_file():
            return {}, ""
        found, where = source.json(CONFIG), CONFIG
    for key in ("fields", "label_columns"):
        some = found.get(key) or []
        if not isinstance(some, list) or not all(isinstance(one, dict) for one in some):
            raise ValueError(f"{where}: {key}: found {some!r:.60}, expected a list of settings")
    return found, where


def columns_of(settings):
    """{label: its settings} of the labels that a model was trained on, by today's names."""
    found = {}
    for one in settings.get("label_columns") or ():
        one = _renamed(one, {"output_size": "n_unique_values"})
        found[str(one.pop("label_column_name", ""))] = one
    return found


def field_of(settings, name):
    """The settings of a field, 'genes' or 'expressions', by today's names.

    'decode_modes' {mode: settings} and 'encoder_kwargs' are dicts in any case.

    Raises
    ------
    ValueError
        They are something else.
    """
    found = [one for one in settings.get("fields") or () if one.get("field_name") == name]
    field = _renamed(found[0] if found else {}, OLD_NAMES)
    modes, options = field.get("decode_modes") or {}, field.get("encoder_kwargs") or {}
    if isinstance(modes, list):
        modes = {str(mode): {} for mode in modes}
    if not isinstance(modes, dict) or not isinstance(options, dict):
        raise ValueError(
            f"settings of the field {name}: decode_modes or encoder_kwargs: found {modes!r:.60} "
            f"and {options!r:.60}, expected names with settings"
        )
    modes = {mode: one if isinstance(one, dict) else {} for mode, one in modes.items()}
    return {**field, "decode_modes": modes, "encoder_kwargs": options}


def _renamed(one, names):
    return {names.get(key, key): value for key, value in one.items()}


def migrated(source):
    """The same checkpoint by today's names of its tensors.

    - the prefix ``model.`` of Lightning's module goes
    - the token head moves one level down: ``cls.predictions.predictions``
    - ``classifier`` becomes the decoder of the only label, ``classifiers.LABEL`` that of its own;
      of a model that classified alone, ``base_model`` is the encoder
    - where there is no pooler, one that leaves the vector to its tanh: the identity, and no bias

    Raises
    ------
    ValueError
        Two tensors would have one name, or nothing says what ``classifier`` classifies.
    """
    tensors = {}
    for name, x in source.tensors.items():
        new = _today(name, source)
        if new in tensors:
            raise ValueError(f"the tensor {name} is unexpected: another is {new} already")
        tensors[new] = x
    prefix = encoder_of(tensors)
    table = tensors.get(f"{prefix}.embeddings.LayerNorm.weight")
    if prefix and table is not None and not any(n.startswith(POOLER[prefix]) for n in tensors):
        width = np.shape(table)[0]
        tensors[f"{POOLER[prefix]}.dense.weight"] = np.eye(width, dtype=np.float32)
        tensors[f"{POOLER[prefix]}.dense.bias"] = np.zeros(width, np.float32)
    return source._replace(tensors=tensors)


def _today(name, source):
    name = name.removeprefix("model.")
    if name.startswith("base_model."):
        rest = name.removeprefix("base_model.")
        return rest if rest.startswith("core.") else f"{BERT}.{rest.removeprefix('model.')}"
    if match := CLASSIFIERS.match(name):
        return f"{LABELS}.{match[1]}.decoder.{name[match.end() :]}"
    if match := CLASSIFIER.match(name):
        return f"{LABELS}.{_only_label(name, source)}.decoder.{name[match.end() :]}"
    rest = name.removeprefix("cls.predictions.")
    if rest != name and not rest.startswith("predictions."):
        return f"{TOKEN_HEAD}.{rest}"
    return name


def _only_label(name, source):
    settings, where = settings_of(source)
    labels = list(columns_of(settings))
    if not labels and isinstance(source.told.get("label_dict"), dict):
        labels = list(source.told["label_dict"])
    if len(labels) > 1 or "" in labels:
        raise ValueError(
            f"the tensor {name} is of one label, and {where or 'label_dict'} names "
            f"{len(labels)}: {', '.join(labels)}"
        )
    return labels[0] if labels else ONLY


def recognises(source):
    """Whether these are the names of BMFM-RNA's tensors."""
    names = [name for name in source.tensors if "classifier" not in name]
    return encoder_of([_today(name, source) for name in names]) is not None
