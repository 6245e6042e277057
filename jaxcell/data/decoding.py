"""Leaf probabilities → one node per cell, by the most probable leaf, greedily, or as far as sure.

N nodes, L leaves, S = 1 + depth of the deepest node. Source: BMFM-RNA, section 4.2.1.

Where a leaf has several parents, siblings share it, so their masses can sum to more than their
parent's. Masses stay comparable, all being sums of one distribution, but going down by them is a
heuristic: a child can win by leaves that its sibling has as well. The most probable leaf is not
affected.
"""

import numpy as np


def leaf_argmax(ontology, leaf_probabilities):
    """The most probable leaf: [cells, L] -> i32 [cells], nodes; of equal ones the lowest id.

    The one decoding that does not ask for a distribution: scores of independent sigmoids will do.
    """
    return ontology.leaves[ontology.checked(leaf_probabilities).argmax(axis=1)]


def greedy(ontology, leaf_probabilities):
    """Down from the root to the child of the highest mass, until a leaf.

    Of several roots the one of the highest mass is the start; of equal masses the lowest id is
    chosen.

    Parameters
    ----------
    ontology : Ontology
    leaf_probabilities : [cells, L], rows sum to 1

    Returns
    -------
    i32 [cells, S], nodes from the root on; the leaf fills the rest, so ``[:, -1]`` are the leaves
    """
    mass = ontology.node_probabilities(leaf_probabilities)
    roots = np.flatnonzero(ontology.depth == 0)
    path = [roots[mass[:, roots].argmax(axis=1)]]
    kids = _children(ontology)
    cells = np.arange(len(mass))[:, None]
    for _ in range(ontology.depth.max()):
        choice = kids[path[-1]]
        best = np.where(choice >= 0, mass[cells, choice], -1).argmax(axis=1)
        path.append(choice[cells[:, 0], best])
    return np.stack(path, axis=1).astype(np.int32)


def _children(ontology):
    """The children of each node [N, most], -1 beyond the last; of a leaf the leaf itself."""
    found = np.full((len(ontology), max(map(len, ontology.children), default=0) or 1), -1)
    for node, children in enumerate(ontology.children):
        own = children or (node,)
        found[node, : len(own)] = own
    return found


def reliable(ontology, leaf_probabilities, p):
    """The deepest node that has a mass of at least p: [cells, L] -> i32 [cells], nodes.

    Deepest is the one with the fewest leaves under it; of these the one of the highest mass, then
    of the longest lineage, then of the lowest id. Where no node has p, which takes several roots,
    it is the root of the highest mass. Below p = .5, and with shared leaves at any p, there can be
    several such nodes on different branches.

    Parameters
    ----------
    ontology : Ontology
    leaf_probabilities : [cells, L], rows sum to 1
    p : 0 < p < 1
    """
    if not 0 < p < 1:
        raise ValueError(f"p={p}: expected a probability between 0 and 1")
    mass = ontology.node_probabilities(leaf_probabilities)
    size = ontology.under.sum(axis=1)
    order = np.lexsort((np.arange(len(ontology)), -ontology.above.sum(axis=1), size))
    ranked, sizes = mass[:, order], size[order]
    enough = ranked >= p
    fewest = sizes[enough.argmax(axis=1)]
    candidates = enough & (sizes == fewest[:, None])
    found = order[np.where(candidates, ranked, -1).argmax(axis=1)]
    roots = np.flatnonzero(ontology.depth == 0)
    root = roots[mass[:, roots].argmax(axis=1)]
    return np.where(enough.any(axis=1), found, root).astype(np.int32)
