"""Label heads of a checkpoint of BMFM-RNA: what they read, of how many classes, and their names."""

from jaxcell.conversion.described import argument
from jaxcell.conversion.families.bmfm_names import ONLY, columns_of, settings_of
from jaxcell.conversion.rules.bmfm_rna import LABELS, decoder_of, head_of, labels_of

# Where the published LLaMA checkpoint of whole cells reads its labels; 0 is [CLS], 1 [CLS_0] …
PUBLISHED = {
    **dict.fromkeys(("cell_type", "cell_type_ontology_term_id"), 1),
    **{"tissue": 2, "tissue_general": 2, "donor": 3, "donor_id": 3, "sex": 4},
}
# Of their losses; others, of an ontology's leaves too, are cross-entropy over the classes.
KINDS = {"focal": "focal"}
TAKEN = ("expression", "expression_at_means", "is_zero", "is_zero_at_means", "genes")


def reads_of(t, settings, several, specials, said):
    """{label: place of the token that it is read from, or None: the pooler}.

    several : whether it is a model whose published checkpoint has several CLS tokens

    Raises
    ------
    ValueError
        Settings and tensors have different labels.
    """
    columns, labels = columns_of(settings), labels_of(t.shapes)
    if settings.get("label_columns") is not None and set(columns) != set(labels):
        odd = sorted(set(columns) ^ set(labels))[0]
        what = "is missing" if odd in columns else "is unexpected, as the settings know no such one"
        raise ValueError(
            f"the tensor {LABELS}.{odd}.decoder.weight {what}; labels of the settings: "
            f"{', '.join(columns) or 'none'}"
        )
    if columns:
        return {label: _place(label, columns[label]) for label in labels}
    if not (several and labels and "<cls_3>" in specials):
        return dict.fromkeys(labels)
    found = {label: PUBLISHED.get(label) for label in labels}
    places = ", ".join(f"{k}: {v or 'the pooler'}" for k, v in found.items())
    said.append(f"labels are read from the tokens at {places}, as in the published checkpoint")
    return found


def _place(label, column):
    if column.get("decode_from") is None:
        return None
    place = argument(column, "decode_from", int, None, f"label_columns: {label}")
    if place < 0:
        raise ValueError(f"label_columns: {label}: decode_from: found {place}, expected 0 or more")
    return place


def add_labels(c, t, source, reads, said):
    """Put heads and losses of the labels into a config.

    Returns
    -------
    {label: (number, 'class', tensor)} and {label: names of its classes} of those that are named
    """
    settings, where = settings_of(source)
    columns, losses = columns_of(settings), _losses(source.told)
    classes, names, made = {}, {}, []
    if reads and not losses:
        said.append("losses of labels are assumed to be cross-entropy: no settings name them")
    if ONLY in reads and ONLY not in columns:
        said.append(f"nothing names the label of the classifier: here it is {ONLY!r}")
    for label, place in reads.items():
        head, column = head_of(label), columns.get(label, {})
        if head in c.model.heads or head in TAKEN:
            raise ValueError(f"the label {label} would have the name {head}, which is another's")
        last, before = decoder_of(label, t.shapes)
        tensor, reverse = f"{last}.weight", before == "1"
        number = t.shape(tensor, 2)[0]
        _check(label, column, number, reverse, tensor, where)
        if reverse and "gradient_reversal_coefficient" not in column:
            said.append(f"the reversal before {label} is assumed to have the strength 1")
        c.model.heads[head] = {
            **{"kind": "classifier", "label": label, "classes": number},
            "mlp": before == "out_proj",
            "reads": "pooled" if place is None else c.model.front[place],
            "reverse": float(column.get("gradient_reversal_coefficient", 1)) if reverse else 0.0,
        }
        kind, weight = losses.get(label, ("cross_entropy", 0.0 if losses else 1.0))
        if not weight:
            said.append(f"{label} has no loss in the settings: it predicts nothing")
        measured = bool(column.get("is_regression_label"))  # a number, and no class
        c.losses[head] = {
            "kind": "mse" if measured else kind,
            "pred": f"heads.{head}",
            "target": f"batch.{'targets' if measured else 'labels'}.{label}",
            "where": f"batch.labels.{label}",
            **{"reduce": "masked_mean", "weight": weight, "after": 0.0},
        }
        if measured:
            c.targets[label] = "number"
        classes[label] = (number, "class", tensor)
        made.append(head if head == label else f"{head}={label}")
        names |= _names(label, number, source.told.get("label_dict"), tensor)
    c.labels = tuple(made)
    return classes, names


def _check(label, column, number, reverse, tensor, where):
    """Raise ValueError where the settings say otherwise than the tensors."""
    wanted = 1 if column.get("is_regression_label") else column.get("n_unique_values")
    if wanted not in (None, number):
        raise ValueError(
            f"the tensor {tensor} has {number} rows, and {where} says that {label} has {wanted} "
            "classes"
        )
    if column.get("is_multilabel"):
        raise ValueError(f"{where}: {label}: is_multilabel: several at once are not converted")
    strength = column.get("gradient_reversal_coefficient")
    if column and (strength is not None) != reverse:
        raise ValueError(
            f"the tensor {tensor} {'has a' if reverse else 'has no'} reversal before it, and "
            f"{where} says otherwise (gradient_reversal_coefficient of {label})"
        )
    if reverse and column:
        argument(column, "gradient_reversal_coefficient", int | float, None, f"{where}: {label}")


def _losses(told):
    """{label: (kind, weight)} of the trainer's losses; {} where they are not told."""
    trainer = told.get("trainer_config")
    losses = trainer.get("losses") if isinstance(trainer, dict) else None
    losses = losses if isinstance(losses, list) else []
    named = [one for one in losses if isinstance(one, dict) and "label_column_name" in one]
    where = "trainer_config: losses"
    return {
        str(one["label_column_name"]): (
            KINDS.get(str(one.get("name")), "cross_entropy"),
            float(argument({"weight": 1.0, **one}, "weight", int | float, None, where)),
        )
        for one in named
    }


def _names(label, number, known, tensor):
    """{label: names of its classes} where the settings have them; {} where not."""
    given = known.get(label) if isinstance(known, dict) else None
    if isinstance(given, dict):
        codes = list(given.values())
        each_once = all(isinstance(k, int) for k in codes) and sorted(codes) == [*range(len(codes))]
        given = sorted(given, key=given.get) if each_once else None
    if not isinstance(given, list) or not given:
        return {}
    given = [str(name) for name in given]
    if len(given) != number or len(set(given)) < number:
        raise ValueError(
            f"the tensor {tensor} has {number} rows, and hyper_parameters: label_dict has "
            f"{len(given)} classes of {label}"
        )
    return {label: given}
