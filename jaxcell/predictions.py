"""From the logits of label heads to columns of obs. B cells, n classes, L leaves."""

import numpy as np

from jaxcell.data import decoding
from jaxcell.models.heads import reads_of
from jaxcell.models.pools import names_of
from jaxcell.systems.bmfm_rna import sigmoids_of
from jaxcell.training.labels import names_of_several

DECODINGS = ("leaf", "greedy")  # or a probability: the deepest term that has it


def label_heads(model):
    """{head: label} of a checkpoint whose predictions are of use.

    Those of reversed heads are not: the encoder has learned to hide such a label. Nor are those of
    heads that no loss has trained.
    """
    heads, trained = model.config.model.heads.items(), _trained(model.config)
    return {n: h.label for n, h in heads if "label" in h and n in trained and not h.get("reverse")}


def _trained(c):
    """Names of the heads that some loss with a weight reads."""
    return {one.pred.split(".")[1] for one in c.losses.values() if one.weight and "." in one.pred}


def pooler_trained(c):
    """Whether some loss that counts reads the pooler, so that training has trained it."""
    read = {"pooled", "cell"} if "pooler" in names_of(c.model.pool) else {"pooled"}
    return any(reads_of(h) in read for n, h in c.model.heads.items() if n in _trained(c))


def check_leaves(model, heads, decode):
    """Raise ValueError where a decoding asks for a distribution over leaves and there is none."""
    for head in heads:
        terms = model.config.model.heads[head].label in model.ontologies
        if decode != "leaf" and terms and sigmoids_of(model.config, head):
            raise ValueError(
                f"decode: found {decode!r}, expected leaf: {head} of {model.config.name} was "
                "trained with independent sigmoids, whose sums over leaves mean nothing"
            )


def probabilities_of(model, head, logits):
    """Logits [B, n] of a head → probabilities f64 [B, n]: a softmax, or a sigmoid of each class."""
    if sigmoids_of(model.config, head):
        return np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))
    return softmax(logits)


def check_decoding(decode):
    """'leaf', 'greedy' or a probability, from text or a number.

    Raises
    ------
    ValueError
        For anything else.
    """
    if decode in DECODINGS:
        return decode
    try:
        p = float(decode)
    except (TypeError, ValueError):
        p = np.nan
    if not 0 < p < 1:
        raise ValueError(f"decode: found {decode!r}, expected leaf, greedy, or a probability (0.7)")
    return p


def softmax(logits):
    """Rows of logits [B, n] → probabilities f64 [B, n]."""
    z = np.asarray(logits, np.float64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def columns(model, head, logits, decode="leaf"):
    """What ``obs`` gets of one label head: {column: array [B]}, by the head's name.

    A class: ``_pred`` (its name) and ``_pred_prob``. A term of an ontology: also ``_pred_id`` and
    ``_pred_lineage``, the names from a root down, joined by ' > ' (all ancestors, by depth). A
    number: ``_pred``. Several names at once: ``_pred``, those with a probability above one half,
    joined by '|'.
    """
    label = model.config.model.heads[head].label
    kind, classes = model.config.targets.get(label), model.labels[label]
    if kind == "number":
        return {f"{head}_pred": np.asarray(logits[:, 0], np.float32)}
    if kind == "several":
        names = np.array(names_of_several(classes))
        return {f"{head}_pred": np.array(["|".join(names[row > 0]) for row in logits], object)}
    p = probabilities_of(model, head, logits)
    if label in model.ontologies:
        return _terms(model.ontologies[label], head, p, decode)
    best = p.argmax(axis=1)
    return {
        f"{head}_pred": np.array(classes, object)[best],
        f"{head}_pred_prob": p[np.arange(len(p)), best].astype(np.float32),
    }


def outputs_of(heads):
    """{'obs' | 'obsm': names} of all that some model may write of these heads."""
    parts = ("pred", "pred_id", "pred_prob", "pred_lineage")
    return {
        "obs": [f"{head}_{part}" for head in heads for part in parts],
        "obsm": [f"{head}_leaves" for head in heads],
    }


def _terms(ontology, head, p, decode):
    if decode == "leaf":
        nodes = decoding.leaf_argmax(ontology, p)
    elif decode == "greedy":
        nodes = decoding.greedy(ontology, p)[:, -1]
    else:
        nodes = decoding.reliable(ontology, p, decode)
    if decode == "leaf":
        mass = p.max(axis=1)
    else:
        mass = ontology.node_probabilities(p)[np.arange(len(p)), nodes]
    names, ids = np.array(ontology.names, object), np.array(ontology.ids, object)
    lineages = {n: " > ".join(names[ontology.lineage(n)]) for n in np.unique(nodes).tolist()}
    return {
        f"{head}_pred": names[nodes],
        f"{head}_pred_id": ids[nodes],
        f"{head}_pred_prob": mass.astype(np.float32),
        f"{head}_pred_lineage": np.array([lineages[n] for n in nodes.tolist()], object),
    }
