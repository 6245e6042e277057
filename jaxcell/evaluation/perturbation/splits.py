"""Which conditions, or cells, are held out.

GEARS' simulation split draws genes, not conditions: what is tested is how far a prediction reaches
beyond the genes that were seen perturbed in training. Groups of the held-out conditions:
``unseen_single``, and ``combo_seenK``, combinations with K seen genes: those of the draw in GEARS'
split, those of any training condition in the others. Source: SYSTEMS.md, F and A6 (Roohani et al.
2023; BioFormer, Ho and Le 2025).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from jaxcell.writing import write_text

from . import draws
from .names import listed

KINDS = ("simulation", "single", "combo", "list", "cells")
SEED = {"simulation": 1, "cells": 42}  # GEARS' and BioFormer's; 0 for the others
HELD_OUT = 0.2  # of the genes (single), the doubles (combo) or the cells (cells)


@dataclass(frozen=True)
class Split:
    """What is trained on, and what is tested.

    Attributes
    ----------
    kind, seed : of `KINDS`; what it was drawn with
    train, val, test : names of conditions; the control is always in training. Of kind 'cells' train
        and test are the same conditions.
    groups, val_groups : {group: its conditions} of test and of val
    left_out : conditions that are in none of the three
    test_cells : names of the cells held out, of kind 'cells' alone
    """

    kind: str
    seed: int
    train: tuple
    test: tuple
    groups: dict
    val: tuple = ()
    val_groups: dict = field(default_factory=dict)
    left_out: tuple = ()
    test_cells: tuple = ()

    def write(self, path):
        """Write as JSON."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        write_text(path, text)

    @classmethod
    def read(cls, path):
        """Read what `write` wrote; ValueError, FileNotFoundError naming the file if it is none."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"split {path}: no such file; jaxcell perturb split makes one")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            lists = ("train", "val", "test", "left_out", "test_cells")
            found |= {name: tuple(found[name]) for name in lists}
            for name in ("groups", "val_groups"):
                found[name] = {group: tuple(some) for group, some in found[name].items()}
            return cls(**found)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"split {path}: found no split ({type(error).__name__}: {error}), expected what"
                " jaxcell perturb split wrote"
            ) from None

    def check(self, data):
        """Raise ValueError where conditions or cells of the split are not in the data."""
        absent = [c for c in (*self.train, *self.val, *self.test) if c not in data.conditions]
        if absent:
            raise ValueError(
                f"split: {len(absent)} of its conditions are not in the data: {listed(absent)}"
            )
        cells = set(data.cells)
        lost = [c for c in self.test_cells if c not in cells]
        if lost:
            raise ValueError(f"split: {len(lost)} of its cells are not in the data: {listed(lost)}")

    def rows(self, data):
        """The cells of training and of testing, bool [n] twice; the control is in training."""
        if self.kind == "cells":
            test = np.isin(data.cells, np.array(self.test_cells))
            return ~test, test & ~data.control
        names = np.array([*data.conditions, ""])[data.code]  # code -1: the control's ''
        return np.isin(names, self.train) | data.control, np.isin(names, self.test)


def make(data, kind="simulation", *, seed=None, seen=2, held_out=HELD_OUT, test=()):
    """Split the conditions of some data.

    Parameters
    ----------
    data : Perturbations
    kind : str
        - simulation: GEARS'; training is split once more, for validation (`draws.simulate`).
        - single: a share of the genes perturbed alone is held out, and no double with one of them
          is trained on (those are left out).
        - combo: doubles are held out of which ``seen`` genes are seen in training: 2: a share of
          those whose genes are both seen alone as well; 1 and 0: genes are drawn and never trained
          on, the doubles with one, or two, of them are tested, other conditions with one left out.
        - list: the conditions ``test``.
        - cells: BioFormer's: a share of the cells of every condition and of the control.
    seed : int, optional
        `SEED` by default.
    seen : int
        Of kind combo: 0, 1 or 2.
    held_out : float
        The share that kinds single, combo and cells hold out.
    test : sequence of str
        Of kind list: conditions, in any spelling.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        Another kind, conditions that are not there, or nothing left to train on or to test.
    """
    if kind not in KINDS:
        raise ValueError(f"split: found {kind!r}, expected one of {', '.join(KINDS)}")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out: found {held_out}, expected a share between 0 and 1")
    seed = SEED.get(kind, 0) if seed is None else seed
    if kind != "cells" and kind != "list" and not any(data.conditions.values()):
        raise ValueError(
            f"split: {kind} draws genes, and the conditions ({listed(data.conditions)}) name none;"
            " expected list or cells"
        )
    if kind == "simulation":
        found = draws.simulation(data, seed)
    elif kind == "single":
        found = draws.single(data, seed, held_out)
    elif kind == "combo":
        found = draws.combo(data, seed, held_out, seen)
    elif kind == "cells":
        found = draws.cells(data, seed, held_out)
    else:
        found = draws.given(data, [data.named(str(c)) for c in test])
    split = Split(kind=kind, seed=seed, **found)
    if not split.train or not split.test:
        raise ValueError(
            f"split: {kind} leaves {len(split.train)} of {len(data.conditions)} conditions to train"
            f" on and {len(split.test)} to test, expected one at least of each; another kind, or"
            " cells, holds cells out"
        )
    return split
