"""Older checkpoints of BMFM-RNA by the names of today's, and the settings that come with them."""

import re

import numpy as np

from jaxcell.conversion.rules.bmfm_rna import BERT, LABELS, POOLER, TOKEN_HEAD, encoder_of

CONFIG = "config.json"
CLASSIFIER = re.compile(r"classifier\.")  # the only one, of a label that its name does not tell
CLASSIFIERS = re.compile(r"classifiers\.([^.]+)\.")


def settings_of(source):
    """(settings of the model as a dict, where they stand); ({}, '') where there are none.

    From what Lightning keeps beside the tensors, or from config.json.
    """
    told = source.told.get("model_config")
    if isinstance(told, dict):
        return told, f"{source.weights.name}: hyper_parameters: model_config"
    if source.weights.with_name(CONFIG).is_file():
        return source.json(CONFIG), CONFIG
    return {}, ""


def columns_of(settings):
    """{label: its settings} of the labels that a model was trained on, by today's names."""
    found = {}
    for one in settings.get("label_columns") or ():
        one = dict(one)
        if "output_size" in one:
            one["n_unique_values"] = one.pop("output_size")
        found[one.pop("label_column_name", "")] = one
    return found


def field_of(settings, name):
    """The settings of a field, 'genes' or 'expressions', by today's names; {} where none are."""
    found = [one for one in settings.get("fields") or () if one.get("field_name") == name]
    field = dict(found[0]) if found else {}
    for old, new in (
        ("masked_output_modes", "decode_modes"),
        ("continuous_value_encoder_kwargs", "encoder_kwargs"),
    ):
        if old in field:
            field[new] = field.pop(old)
    modes = field.get("decode_modes") or {}
    field["decode_modes"] = modes if isinstance(modes, dict) else {mode: {} for mode in modes}
    field["encoder_kwargs"] = field.get("encoder_kwargs") or {}
    return field


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
    return labels[0] if labels else "label"


def recognises(source):
    """Whether these are the names of BMFM-RNA's tensors."""
    names = [name for name in source.tensors if "classifier" not in name]
    return encoder_of([_today(name, source) for name in names]) is not None
