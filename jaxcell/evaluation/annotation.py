"""Predicted cell types against true ones, by their places in an ontology.

n cells, m different (truth, prediction) pairs, N nodes, L leaves. Source: BMFM-RNA, sections 2.3
and 4.2.
"""

import numpy as np

from jaxcell.data.decoding import greedy, leaf_argmax, reliable
from jaxcell.data.ontology import RELATIONS

CORRECT = "correct"  # exact or descendant: nothing that the truth says is contradicted
THRESHOLDS = (0.5, 0.7, 0.9)
Z = 1.959963984540054  # of a two-sided interval of 95 %
BLOCK = 4096  # cells decoded at a time: all nodes' masses of a million cells would be 8 GB


def wilson(found, of):
    """A share and its Wilson interval of 95 %: {share, low, high}. Source: Wilson 1927."""
    share, z2 = found / of, Z**2 / of
    middle = (share + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    # Of a share of 0 or 1 the end is the share itself, but for the last digit.
    low, high = max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)
    return {"share": float(share), "low": float(low), "high": float(high)}


def decodings(ontology, leaf_probabilities, thresholds=THRESHOLDS):
    """The nodes that each decoding gives: {name: i32 [n]}.

    leaf_probabilities [n, L]; thresholds: of ``reliable``
    """
    ways = {"greedy": lambda o, p: greedy(o, p)[:, -1]}
    ways |= {f"reliable, p ≥ {at:g}": _reliable(at) for at in thresholds}
    blocks = [leaf_probabilities[i : i + BLOCK] for i in range(0, len(leaf_probabilities), BLOCK)]
    return leaf_decoding(ontology, leaf_probabilities) | {
        name: np.concatenate([decode(ontology, block) for block in blocks])
        for name, decode in ways.items()
    }


def leaf_decoding(ontology, leaf_probabilities):
    """The one decoding that asks for no distribution: {name: i32 [n]}."""
    return {"leaf argmax": leaf_argmax(ontology, leaf_probabilities)}


def _reliable(at):
    return lambda ontology, p: reliable(ontology, p, at)


def default_levels(ontology, truth):
    """Depths for three levels: a third and two thirds of the deepest true node's, and all of it."""
    deepest = int(ontology.depth[truth].max())
    return {"broad": -(-deepest // 3), "middle": -(-2 * deepest // 3), "fine": deepest}


def required(ontology, level):
    """What a level asks of a prediction for each true node: bool [N, N].

    [t, j]: a cell of type t is right at this level only if node j is its prediction, or above that.
    A level is a depth or a list of nodes. Of t and all its ancestors, by every parent, it asks for
    those that are no deeper, or that are in the list. A row without any node is not scored.
    """
    if isinstance(level, int):
        return ontology.above & (ontology.depth <= level)
    return ontology.above & np.isin(np.arange(len(ontology)), level)


def compare(ontology, truth, predicted, levels):
    """Shares of the four relations, over all cells, by true class and at each level.

    Parameters
    ----------
    ontology : Ontology
    truth, predicted : int [n], nodes
    levels : {name: depth or list of nodes}, see ``required``

    Returns
    -------
    dict
        ``cells``; each of RELATIONS and ``correct`` (exact or descendant) as {share, low, high};
        ``macro_correct``, the mean over true classes; ``levels`` {name: {cells, share, low, high}},
        None where no cell is scored; ``classes`` {id: {name, cells, the shares, predicted: [[name,
        cells] of the most frequent]}}, the most frequent class first.
    """
    pairs, cells = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
    truths, guesses = pairs
    relation = ontology.relation(guesses, truths)
    classes = {}
    for node in sorted(set(truths.tolist()), key=lambda t: (-cells[truths == t].sum(), t)):
        own = truths == node
        most = sorted(zip(cells[own].tolist(), guesses[own].tolist(), strict=True), reverse=True)
        classes[ontology.ids[node]] = {
            "name": ontology.names[node],
            **_shares(relation[own], cells[own]),
            "predicted": [[ontology.names[guess], k] for k, guess in most[:3]],
        }
    found = _shares(relation, cells)
    found["macro_correct"] = float(np.mean([row[CORRECT]["share"] for row in classes.values()]))
    found["levels"] = {}
    for name, level in levels.items():
        asked = required(ontology, level)[truths]
        scored, right = asked.any(axis=1), (asked <= ontology.above[guesses]).all(axis=1)
        of = int(cells[scored].sum())
        one = {"cells": of, **wilson(int(cells[scored & right].sum()), of)} if of else None
        found["levels"][name] = one
    return {**found, "classes": classes}


def _shares(relation, cells):
    """Of relations str [m] and their cells int [m]: {cells, each relation, correct}."""
    of = {name: int(cells[relation == name].sum()) for name in RELATIONS}
    of[CORRECT] = of["exact"] + of["descendant"]
    total = int(cells.sum())
    return {"cells": total, **{name: wilson(k, total) for name, k in of.items()}}
