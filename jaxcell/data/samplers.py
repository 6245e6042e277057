"""The steps that ``config.data.sampling`` names; `sampling` says what they make together.

A group is what has the same class in each column that ``by`` names. G groups.
"""

from dataclasses import dataclass

import numpy as np

from jaxcell.data import mixture
from jaxcell.data.groups import UNKNOWN, columns_of
from jaxcell.data.mixture import SLOTS
from jaxcell.registry import build, lookup


@dataclass
class Cap:
    """At most so many cells of each group in an epoch, by a draw of the seed.

    by : columns; (): all cells are one group
    cells : at most so many of each group; 0: see ``total``
    total : cells of all groups together, each group the same number; what groups with fewer cells
        leave of theirs goes to the others in equal parts; 0: see ``cells``
    redraw : False: always the same cells; True: others every epoch, so that in time all are seen
    unknown : 'keep': cells without a label in a column are a group; 'drop': they are never seen
    """

    by: tuple
    cells: int = 0
    total: int = 0
    redraw: bool = False
    unknown: str = "keep"

    def __post_init__(self):
        _check(self, "cap", least=0)
        if min(self.cells, self.total) < 0 or (self.cells > 0) == (self.total > 0):
            raise ValueError(
                f"config.data.cap: found cells {self.cells} and total {self.total}, expected one "
                "of them above 0, the other 0"
            )

    def quotas(self, sizes):
        """Cells of each group of these sizes [groups] that an epoch shows, i64 [groups]."""
        if self.cells:
            return np.minimum(sizes, self.cells)
        if not (sizes > 0).sum() <= self.total <= sizes.sum():
            raise ValueError(
                f"config.data.cap.total: found {self.total}, expected from {(sizes > 0).sum()}, "
                f"the groups by {self.by}, to {sizes.sum()}, their training cells"
            )
        low, high = 0, int(sizes.max())  # the most that each can have without going beyond
        while low < high:
            level = (low + high + 1) // 2
            fits = np.minimum(sizes, level).sum() <= self.total
            low, high = (level, high) if fits else (low, level - 1)
        quotas = np.minimum(sizes, low)
        quotas[np.flatnonzero(sizes > low)[: self.total - quotas.sum()]] += 1
        return quotas


@dataclass
class Weights:
    """Shares of the stream for groups; within a group every cell comes equally often.

    by : columns
    power : p; a cell's weight is (cells of its group)^p: −1 gives all groups the same share, −0.5
        shares ∝ √cells; shares are multiples of 1 / SLOTS, and at least that
    shares : ('PATTERN=WEIGHT', …) over the classes of the one column in ``by``, instead of a power;
        the first pattern that matches counts, 'unknown' is the class of cells without a label
    unknown : 'keep' or 'drop', as for `Cap`
    """

    by: tuple
    power: float = 0.0
    shares: tuple = ()
    unknown: str = "keep"

    def __post_init__(self):
        _check(self, "weights")
        if (self.power != 0) == bool(self.shares) or not abs(self.power) <= 8:
            raise ValueError(
                f"config.data.weights: found power {self.power} and shares {self.shares}, expected "
                "either shares or a power from -8 to 8 other than 0"
            )
        mixture.parse(self.shares, "config.data.weights.shares")
        if self.shares and len(self.by) != 1:
            raise ValueError(
                f"config.data.weights.by: found {self.by}, expected one column, whose classes "
                "the patterns of shares match"
            )

    def branches(self, groups, present, store):
        """Branch i64 of each group that is present (bool [G])."""
        if not self.shares:
            return groups.merge(self.by)[0][present]
        names = [*columns_of(store)[self.by[0]], UNKNOWN]  # −1 is the last
        there = np.zeros(len(names), bool)
        codes = groups.column(self.by[0])[present]
        there[codes] = True
        where = "config.data.weights.shares"
        patterns = [pattern for pattern, _ in mixture.parse(self.shares, where)]
        return mixture.match(names, there, patterns, where, self.by[0])[codes]

    def quotas(self, sizes):
        """Slots of each branch of these sizes [branches], together SLOTS."""
        if self.shares:
            where = "config.data.weights.shares"
            return mixture.slots(mixture.parse(self.shares, where), where)
        if len(sizes) > SLOTS:
            raise ValueError(
                f"config.data.weights.by: {self.by} make {len(sizes)} groups, expected at most "
                f"{SLOTS}"
            )
        weights = (sizes / sizes.max()) ** (1.0 + self.power)
        least = np.zeros(len(sizes), bool)  # has one slot
        while True:
            exact = np.where(least, 1, weights / weights[~least].sum() * (SLOTS - least.sum()))
            if not (exact < 1 - 1e-9).any():
                break
            least |= exact < 1 - 1e-9
        quotas = np.floor(exact + 1e-6).astype(np.int64)
        quotas[np.argsort(quotas - exact, kind="stable")[: SLOTS - quotas.sum()]] += 1
        return quotas


@dataclass
class RoundRobin:
    """Groups take turns: in every turn each comes once, in an order of that turn.

    So a batch that is a whole number of turns holds equally many cells of each group. A group with
    fewer cells comes again more often.

    by : columns
    unknown : 'keep' or 'drop', as for `Cap`
    """

    by: tuple
    unknown: str = "keep"

    def __post_init__(self):
        _check(self, "round_robin")


@dataclass
class Stratify:
    """Every batch of B cells holds of a group of n in N cells n · B / N, within less than 1.

    That holds exactly alone or behind ``cap``, and within each node where ``round_robin`` divides
    the batch evenly. Behind ``weights`` chance decides how many cells of a batch a node has; its
    groups are spread over these nearly as evenly.

    by : columns
    unknown : 'keep' or 'drop', as for `Cap`
    """

    by: tuple
    unknown: str = "keep"

    def __post_init__(self):
        _check(self, "stratify")


SAMPLERS = {"cap": Cap, "weights": Weights, "round_robin": RoundRobin, "stratify": Stratify}


def _check(step, name, least=1):
    step.by = (step.by,) if isinstance(step.by, str) else tuple(step.by)
    if len(step.by) < least or len(set(step.by)) < len(step.by):
        raise ValueError(
            f"config.data.{name}.by: found {step.by}, expected different columns: 'dataset' or "
            "labels of the store"
        )
    if step.unknown not in ("keep", "drop"):
        raise ValueError(
            f"config.data.{name}.unknown: found {step.unknown!r}, expected one of keep, drop"
        )


def build_samplers(data):
    """{name: step} that ``config.data.sampling`` names.

    Raises
    ------
    ValueError
        For whatever in it, or in the blocks of its steps, is wrong or does not go together.
    """
    names = data.get("sampling", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        lookup(SAMPLERS, name, "config.data.sampling")
    if names != tuple(name for name in SAMPLERS if name in names):
        raise ValueError(
            f"config.data.sampling: found {names}, expected some of {', '.join(SAMPLERS)}, each at "
            "most once and in this order"
        )
    if names and data.get("mixture"):
        raise ValueError(
            f"config.data.mixture: found {tuple(data['mixture'])} beside config.data.sampling, "
            "expected (): the step 'weights' takes the same as config.data.weights.shares, by "
            "'dataset'"
        )
    steps = {
        name: build(SAMPLERS, {"kind": name, **data.get(name, {})}, f"config.data.{name}")
        for name in names
    }
    _check_together(steps)
    return steps


def _check_together(steps):
    divided = {}  # column: the step whose groups have one class of it each
    for name, step in steps.items():
        if name == "cap":
            continue
        if all(column in divided for column in step.by):
            raise ValueError(
                f"config.data.{name}.by: found {step.by}, by which "
                f"config.data.{divided[step.by[0]]}.by divides already; expected another column"
            )
        if not (name == "weights" and step.shares):  # a pattern may match several classes
            divided |= {column: name for column in step.by if column not in divided}
    cap = steps.get("cap")
    finer = [c for s in steps.values() for c in s.by if cap and c not in cap.by]
    if cap and cap.redraw and finer:
        raise ValueError(
            f"config.data.cap.redraw: found True, expected False, or {', '.join(finer)} in "
            "config.data.cap.by too: how many cells of each of its classes are seen is drawn once"
        )
