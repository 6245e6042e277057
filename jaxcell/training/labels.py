"""What a config's labels are in a store: classes, leaves of an ontology, numbers, several at once.

n classes of a label, L leaves, K of several.
"""

import numpy as np

from jaxcell.data.ontology_reading import read_ontology
from jaxcell.losses.total import labels_read
from jaxcell.models.cell import label_users

SEPARATOR = "|"  # between the names of a label of several


def adopt_labels(c, store, say):
    """Set every label's number of classes in a config from its store; read the ontology.

    Returns
    -------
    {label: Ontology}, pruned to the labels in use

    Raises
    ------
    ValueError
        The store has no such label, or none of its classes is a term or a number, or a label has
        fewer than two classes (leaves, of an ontology).
    """
    known = store.classes
    heads = {n: h for n, h in c.model.heads.items() if "label" in h}
    users = [(f"model.{path}.label", one.label) for path, one in label_users(c.model)]
    read = labels_read(c.losses).items()
    users += [(f"losses.{name}.target", label) for label, name in read]
    for where, label in users:
        if label not in known:
            name = where.split(".")[-2]
            other = (
                "--config.batch=LABEL (dataset: its files; '': no batches)"
                if label == c.batch
                else f'--config.labels="(\'{name}=LABEL\',)" takes another, "()" none'
            )
            raise ValueError(
                f"config.{where}: {store.path} has no label {label!r}; it has "
                f"{', '.join(known) or 'none'}. Prepare it with --labels {label}, or {other}"
            )
    for _, one in label_users(c.model):
        one.classes = len(known[one.label])
    ontologies = _ontologies(c, store, {h.label for h in heads.values()}, say)
    for head in heads.values():
        if head.label in ontologies:
            head.classes = len(ontologies[head.label].leaves)
        elif head.label in c.targets:
            head.classes = targets(c, known[head.label], head.label).shape[1]
    _check_classes(c, heads, store)
    return ontologies


def _check_classes(c, heads, store):
    """Of a single class there is nothing to learn, and a focal loss of it is no 0 but .173."""
    for name, head in heads.items():
        if head.get("reverse"):
            seen = int((cells_of(store, head.label, ("train",)) > 0).sum())
            if seen < 2:
                less = "--config.batch=''" if head.label == c.batch else "config.labels without it"
                raise ValueError(
                    f"config.model.heads.{name}: {store.path}, label {head.label!r}: the training "
                    f"cells have {seen} of its classes, expected two or more for an adversary to "
                    f"tell apart; or {less}"
                )
        if head.label in c.targets or head.classes > 1:
            continue
        leaves = head.label in c.ontology.labels
        advice = "further terms in config.ontology.terms, or " if leaves else ""
        advice += "--config.batch='', or " if head.label == c.batch else ""
        raise ValueError(
            f"config.labels: {store.path}, label {head.label!r} of the head {name}: found "
            f"{head.classes} {'leaves' if leaves else 'classes'}, expected two or more: "
            f"{advice}config.labels without {name}"
        )


def cells_of(store, label, splits=("train", "valid")):
    """Cells of each class of a label, training and validation ones, i64 [n]."""
    codes = np.concatenate([store.codes(split, label) for split in splits])
    return np.bincount(codes[codes >= 0], minlength=len(store.classes[label]))


def _ontologies(c, store, labels, say):
    wanted = [name for name in c.ontology.labels if name in labels]
    if not wanted:
        return {}
    if not c.ontology.file:
        raise ValueError(
            "config.ontology.file: found none, expected an OBO file, or cellxgene (the Cell "
            f"Ontology of the package cellxgene-ontology-guide), for {', '.join(wanted)}"
        )
    whole, found = read_ontology(c.ontology.file), {}
    for name in wanted:
        classes, counts = store.classes[name], cells_of(store, name)
        lost = whole.unresolved(classes, counts)
        if all(whole.resolve(label) is None for label in classes):
            raise ValueError(f"config.ontology: {store.path}, label {name!r}: {lost}")
        if lost:
            say(f"label {name}: {lost}; these cells count as unknown")
        unknown = [term for term in c.ontology.terms if whole.resolve(term) is None]
        if unknown:
            raise ValueError(
                f"config.ontology.terms: found {', '.join(map(repr, unknown))}, expected terms of "
                f"{whole.source}"
            )
        found[name] = whole.prune([*classes, *c.ontology.terms])
        say(
            f"label {name}: {len(found[name].leaves)} leaves under {len(found[name])} terms of "
            f"{found[name].source}"
        )
        trained = cells_of(store, name, ("train",))
        for text in (
            *undivided(found[name], classes, counts),
            *unseen(found[name], classes, trained),
            *apart(c, found[name], name, classes),
        ):
            say(f"label {name}: {text}")
    return found


def undivided(ontology, classes, counts):
    """Sentences on labels between which the leaves in use do not tell, and on those over all.

    classes : names of terms and others [n]; counts : cells of each [n]
    """
    cells = {}  # of a node: it may have several names
    for name, number in zip(classes, map(int, counts), strict=True):
        if (node := ontology.resolve(name)) is not None:
            cells[node] = cells.get(node, 0) + number
    alike = {}
    for node in sorted(cells, key=lambda n: ontology.depth[n]):
        alike.setdefault(ontology.under[node].tobytes(), []).append(node)
    said = []
    for nodes in alike.values():
        shown = ", ".join(f"{ontology.names[n]!r} ({cells[n]} cells)" for n in nodes)
        if len(nodes) > 1:
            said.append(
                f"{shown} have the same leaves, so they are trained and annotated as one; terms "
                "in config.ontology.terms that are under one and not under the other divide them"
            )
        if ontology.under[nodes[0]].all():
            said.append(f"{shown}: over all leaves, so these cells teach nothing of the label")
    return said


def unseen(ontology, classes, counts):
    """A sentence on the leaves under no label of a training cell; counts [n] of these cells."""
    nodes = [ontology.resolve(name) for name, n in zip(classes, counts, strict=True) if n]
    nodes = [node for node in nodes if node is not None]
    there = ontology.under[nodes].any(axis=0) if nodes else np.zeros(len(ontology.leaves), bool)
    names = [repr(ontology.names[leaf]) for leaf in ontology.leaves[~there]]
    if not names:
        return []
    return [f"{', '.join(names)}: leaves that no training cell's label has, or has below it"]


def apart(c, ontology, label, classes):
    """A sentence on names of one term, which sampling by the label takes for several groups."""
    if not any(label in c.data[how].get("by", ()) for how in c.data.sampling):
        return []
    names = {}
    for name in classes:
        if (node := ontology.resolve(name)) is not None:
            names.setdefault(node, []).append(name)
    same = [" = ".join(map(repr, some)) for some in names.values() if len(some) > 1]
    text = "sampling by it takes names of one term for groups of their own; prepare one name a term"
    return [f"{', '.join(same)}: {text}"] if same else []


def label_tables(c, store, ontologies):
    """{'leaves': {label: bool [n, L]}, 'targets': {label: f32 [n, K]}} for the losses."""
    labels = {h.label for h in c.model.heads.values() if "label" in h}
    return {
        "leaves": {n: o.mask(store.classes[n]) for n, o in ontologies.items()},
        "targets": {n: targets(c, store.classes[n], n) for n in c.targets if n in labels},
    }


def targets(c, classes, label):
    """What the names of a label's classes stand for: f32 [n, K].

    'number': the number itself, K = 1. 'several': one column for each of the names between '|',
    1 where a cell has it.
    """
    kind, where = c.targets[label], f"config.targets.{label}"
    if kind == "number":
        try:
            found = np.array([[float(name)] for name in classes], np.float32)
        except ValueError as error:
            raise ValueError(f"{where}: a class is no number: {error}") from None
        if lost := [name for name, one in zip(classes, found, strict=True) if not np.isfinite(one)]:
            raise ValueError(f"{where}: {', '.join(lost)} are classes, and no finite numbers")
        return found
    has = [set(filter(None, name.split(SEPARATOR))) for name in classes]
    names = names_of_several(classes)
    return np.array([[name in one for name in names] for one in has], np.float32)


def names_of_several(classes):
    """The single names of a label of several, in the order of its columns."""
    return sorted({one for name in classes for one in name.split(SEPARATOR) if one})
