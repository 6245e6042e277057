"""What the rows of a model's parameters stand for: genes, special tokens, classes of labels."""

from jaxcell.models.cell import CellModel, label_users
from jaxcell.training.checkpoint import flatten
from jaxcell.training.labels import names_of_several

# What a parameter has a row for, by how much it grows where genes grow by one, special tokens by
# two and each label's classes by five; of vocab_multiple, so that padded tables grow by as much.
GROWN = {1: "genes", 2: "specials", 3: "tokens", 5: "classes"}


def shapes(spec):
    """{'params/…': ShapeDtypeStruct} of a config's ``model``."""
    return flatten(CellModel(spec).shapes())


def row_axes(spec):
    """{path: (axis, its length, what)}: parameters with a row for each gene, token, special, class.

    Found by letting them grow; ``what`` is one of GROWN, 'tokens' both genes and special tokens.

    Raises
    ------
    ValueError
        When a parameter grows in another way.
    """
    larger, one = spec.copy_and_resolve_references(), spec.vocab_multiple
    larger.vocabulary += one
    larger.specials = (*spec.specials, *(f"<{i} more>" for i in range(2 * one)))
    for _, part in label_users(larger):
        part.classes += 5 * one
    before, after, found = shapes(spec), shapes(larger), {}
    for name, leaf in before.items():
        pairs = enumerate(zip(leaf.shape, after[name].shape, strict=True))
        grown = [(axis, (b - a) / one) for axis, (a, b) in pairs if a != b]
        if grown and (len(grown) > 1 or grown[0][1] not in GROWN):
            raise ValueError(f"{name}: grows from {leaf.shape} to {after[name].shape}")
        for axis, by in grown:
            found[name] = axis, leaf.shape[axis], GROWN[by]
    return found


def row_names(c, genes, labels, ontologies):
    """{path: (axis, [what each row stands for, None where that is nothing or not known])}.

    Parameters
    ----------
    c : the model's config
    genes : what each gene is called, in their order; None for one without a counterpart
    labels : {label: names of its classes}
    ontologies : {label: Ontology}
    """
    tokens, specials = [*genes, *c.model.specials], [*c.model.specials, "zero"]
    named = {"genes": genes, "tokens": tokens, "specials": specials}
    for owner, names in class_names(c, labels, ontologies).items():
        # Metadata and conditions have one more row, for cells of no known class.
        more = names and owner.startswith(("metadata", "conditions"))
        named[owner] = [*names, "unknown"] if more else names
    found = {}
    for path, (axis, size, what) in row_axes(c.model).items():
        names = named[_owner(path) if what == "classes" else what]
        found[path] = axis, [*names, *[None] * size][:size]
    return found


def _owner(path):
    """What of a model has the classes that a parameter or statistic has rows for."""
    _, room, owner, *_ = path.split("/")
    if room.startswith("condition_"):
        return f"conditions.{room.removeprefix('condition_')}"
    if room == "heads":
        return f"heads.{owner}"
    return "domain" if owner == "norm" else f"metadata.{owner}"


def class_names(c, labels, ontologies):
    """{'heads.…' | 'metadata.…' | …: [(kind, name) of each class]} of all that has a label.

    Empty where the classes are not known: an ontology's leaves, in a folder from before these.
    """
    found = {}
    for owner, one in label_users(c.model):
        if owner.startswith("heads."):
            found[owner] = _outputs(c, one.label, labels, ontologies)
        else:
            found[owner] = [("class", k) for k in labels.get(one.label, ())]
    return found


def _outputs(c, label, labels, ontologies):
    """What the logits of a label's head stand for."""
    known = labels.get(label, ())
    if label in ontologies:
        o = ontologies[label]
        return [("leaf", o.ids[i]) for i in o.leaves]
    if label in c.ontology.labels:
        return []
    kind = c.targets.get(label)
    if kind == "number":
        return [("number", "")]
    if kind == "several":
        return [("one of several", k) for k in names_of_several(known)]
    return [("class", k) for k in known]
