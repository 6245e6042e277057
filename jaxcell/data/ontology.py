"""A cell ontology as a small frozen thing: which terms there are, and which lie under which.

N nodes (terms), L leaves (nodes without children), n labels. Source: BMFM-RNA, section 4.2.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import numpy as np

RELATIONS = ("exact", "descendant", "ancestor", "off-lineage")  # of a prediction to the truth


@dataclass(frozen=True)
class Ontology:
    """Terms and their is_a edges: a directed acyclic graph in which a node may have many parents.

    ``read_ontology`` makes one of a file; it travels with a checkpoint as JSON.

    Attributes
    ----------
    ids, names : tuples of str [N]; ids ascend
    parents : tuple of tuples of int [N], nodes
    synonyms : tuple of tuples of str [N], exact ones
    source : str, where it was read
    leaves : i32 [L], nodes without children, ascending: the columns of a model's leaf logits
    depth : i32 [N], edges of the longest path from a root, so a node is deeper than its ancestors
    above : bool [N, N], [i, j]: j is i or an ancestor of i
    under : bool [N, L], [i, j]: leaf j is i or descends from i
    children : tuple of tuples of int [N], nodes, ascending

    Raises
    ------
    ValueError
        A cycle, ids that do not ascend, or lengths that differ.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]
    synonyms: tuple[tuple[str, ...], ...]
    source: str

    def __post_init__(self):
        lengths = {len(a) for a in (self.ids, self.names, self.parents, self.synonyms)}
        if len(lengths) != 1 or not self.ids or list(self.ids) != sorted(set(self.ids)):
            raise ValueError(
                f"{self.source}: expected one name, parents and synonyms per sorted id"
            )
        try:
            _ = self._order
        except CycleError as error:
            cycle = " is_a ".join(f"{self.ids[i]} ({self.names[i]})" for i in error.args[1][::-1])
            raise ValueError(f"{self.source}: the is_a edges form a cycle: {cycle}") from None

    def __len__(self):
        return len(self.ids)

    @cached_property
    def _order(self):
        """Nodes, each after its parents."""
        return tuple(TopologicalSorter(dict(enumerate(self.parents))).static_order())

    @cached_property
    def children(self):
        found = [[] for _ in self.ids]
        for node, parents in enumerate(self.parents):
            for parent in parents:
                found[parent].append(node)
        return tuple(map(tuple, found))

    @cached_property
    def leaves(self):
        return np.array([i for i, nodes in enumerate(self.children) if not nodes], np.int32)

    @cached_property
    def depth(self):
        found = np.zeros(len(self), np.int32)
        for node in self._order:
            found[node] = max((found[p] + 1 for p in self.parents[node]), default=0)
        return found

    @cached_property
    def above(self):
        found = np.eye(len(self), dtype=bool)
        for node in self._order:
            for parent in self.parents[node]:
                found[node] |= found[parent]
        return found

    @cached_property
    def under(self):
        return np.ascontiguousarray(self.above[self.leaves].T)

    @cached_property
    def _sums(self):
        import scipy.sparse as sp

        # A leaf has some ten ancestors of a thousand. And nodes over the same leaves add the same
        # numbers in the same order: their masses are equal to the last bit.
        return sp.csr_matrix(self.under, dtype=np.float64)

    @cached_property
    def _nodes(self):
        """Every text that names a node: {folded text: node}; an id before a name before a synonym.

        What two names, or two synonyms, have in common names no node.
        """
        found = {}
        for texts in (
            [(_fold(i),) for i in self.ids],
            [(_fold(name),) for name in self.names],
            [{_fold(s) for s in synonyms} for synonyms in self.synonyms],
        ):
            new = {}
            for node, of_node in enumerate(texts):
                for text in of_node:
                    new[text] = None if text in new else node
            found = new | found
        return found

    def resolve(self, label):
        """The node that an id, a name or an exact synonym means; None where there is none.

        Without regard to case; ``CL_0000236`` is ``CL:0000236``. A synonym of several terms means
        none of them.
        """
        return self._nodes.get(_fold(label))

    def prune(self, labels):
        """The ontology of some labels and all their ancestors: its leaves are labels in use.

        Labels that are no terms are left out; ``unresolved`` tells them.

        Raises
        ------
        ValueError
            No label is a term.
        """
        nodes = [node for node in map(self.resolve, labels) if node is not None]
        if not nodes:
            raise ValueError(f"none of the labels {_few(labels)} is a term of {self.source}")
        kept = np.flatnonzero(self.above[nodes].any(axis=0)).tolist()
        new = {node: i for i, node in enumerate(kept)}
        return Ontology(
            tuple(self.ids[i] for i in kept),
            tuple(self.names[i] for i in kept),
            tuple(tuple(new[p] for p in self.parents[i]) for i in kept),
            # One that several terms share must not gain a meaning where the others are gone.
            tuple(tuple(s for s in self.synonyms[i] if self.resolve(s) == i) for i in kept),
            self.source,
        )

    def mask(self, labels):
        """Which leaves descend from each label: bool [n, L], of a leaf itself alone.

        The row of a label that is no term is all False.
        """
        found = np.zeros((len(labels), len(self.leaves)), bool)
        for row, node in zip(found, map(self.resolve, labels), strict=True):
            if node is not None:
                row[:] = self.under[node]
        return found

    def unresolved(self, labels, counts):
        """A sentence on the labels that are no terms, by name and number of cells; '' if all are.

        labels: sequence of str [n]; counts: cells of each [n]
        """
        pairs = list(zip(labels, map(int, counts), strict=True))
        lost = [(label, k) for label, k in pairs if self.resolve(label) is None]
        if not lost:
            return ""
        shown = ", ".join(f"{str(label)!r} ({k})" for label, k in sorted(lost, key=lambda p: -p[1]))
        return (
            f"{len(lost)} of {len(pairs)} labels, {sum(k for _, k in lost)} of "
            f"{sum(k for _, k in pairs)} cells, are no terms of {self.source}: {shown}"
        )

    def lineage(self, node):
        """The ancestors of a node by all of its parents, and itself: list of int.

        From a root to the node, each after its own ancestors; by depth, then id.
        """
        nodes = np.flatnonzero(self.above[node])
        return nodes[np.argsort(self.depth[nodes], kind="stable")].tolist()

    def relation(self, predicted, truth):
        """What predicted nodes are to the true ones: arrays of nodes -> str array of RELATIONS.

        'descendant': the prediction descends from the truth; 'ancestor': it lies above it.
        """
        predicted, truth = np.asarray(predicted), np.asarray(truth)
        for nodes in (predicted, truth):
            if nodes.size and not 0 <= nodes.min() <= nodes.max() < len(self):
                found = f"{nodes.min()} … {nodes.max()}"
                raise ValueError(f"relation: nodes {found}, expected 0 … {len(self) - 1}")
        up, down = self.above[predicted, truth], self.above[truth, predicted]
        return np.array(RELATIONS)[np.where(up, 1 - down, 3 - down)]

    def node_probabilities(self, leaf_probabilities):
        """Each node's mass, the sum over the leaves under it, each once: [cells, L] -> [cells, N].

        In float64. Where a leaf has several parents, siblings share it: their masses can sum to
        more than their parent's.

        Raises
        ------
        ValueError
            Not a distribution over the leaves (independent sigmoids, for one, are none).
        """
        p = self.checked(leaf_probabilities).astype(np.float64)
        total = p.sum(axis=1)
        if (np.abs(total - 1) > 1e-2).any():  # bfloat16's rounding passes
            raise ValueError(
                f"leaf_probabilities: rows sum to {total.min():.4g} … {total.max():.4g}, expected "
                "1: the softmax over the leaves"
            )
        return np.ascontiguousarray((self._sums @ p.T).T)

    def checked(self, leaf_probabilities):
        """The same as an array; ValueError unless [cells, L], finite and not negative."""
        p = np.asarray(leaf_probabilities)
        if p.ndim != 2 or p.shape[1] != len(self.leaves):
            raise ValueError(
                f"leaf_probabilities: found the shape {p.shape}, expected [cells, "
                f"{len(self.leaves)}]: the ontology's leaves"
            )
        if p.size and not (p.min() >= 0 and np.isfinite(p.max())):
            raise ValueError("leaf_probabilities: negative or not finite; expected probabilities")
        return p

    def to_json(self):
        """The whole ontology as text; ``from_json`` gives an equal one."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text):
        """The ontology that ``to_json`` wrote; ValueError where the text is none."""
        fields = list(cls.__dataclass_fields__)
        try:
            found = json.loads(text)
            values = [found[name] for name in fields]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not the JSON of an ontology with {', '.join(fields)}") from error
        *listed, source = values
        nested = [tuple(tuple(v) if isinstance(v, list) else v for v in one) for one in listed]
        return cls(*nested, source)


def _fold(text):
    text = str(text).strip().casefold()
    prefix, _, number = text.partition("_")
    return f"{prefix}:{number}" if prefix.isalpha() and number.isdigit() else text


def _few(labels):
    shown = ", ".join(repr(str(label)) for label in labels[:5])
    return shown + (f" … ({len(labels)})" if len(labels) > 5 else "")
