"""The data of the perturbation suite: files of perturbed cells, and what of each is held out."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from jaxcell.data.sources import read_h5ad
from jaxcell.evaluation.perturbation import splits
from jaxcell.evaluation.perturbation.conditions import perturbations
from jaxcell.evaluation.perturbation.names import CONTROL, JOINED
from jaxcell.evaluation.perturbation.task import Task
from jaxcell.evaluation.perturbation.training_cells import training_cells
from jaxcell.files import near
from jaxcell.suites.vectors import fingerprint

LAYOUT = ("condition", "control", "separator", "treatment", "cells", "values")
NORMAN = "norman19_mcfaline23_perturbench_devel.h5ad"
KANG = "kang_ifnb_labelled_1556x1267_muscat.h5ad"


@dataclass(frozen=True)
class Case:
    """A file of perturbed cells, and what of it is held out.

    layout : condition, control, separator, treatment, cells, values, see `perturbations`
    kind : of the split
    """

    name: str
    path: Path
    layout: dict
    kind: str

    @property
    def values(self):
        return self.layout["values"]

    @cached_property
    def _read(self):
        return read_h5ad(self.path)

    @cached_property
    def data(self):
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path}: no such file; expected an h5ad (--data){near(self.path)}"
            )
        return perturbations(self._read, where=self.path, **self.layout)

    @cached_property
    def split(self):
        return splits.make(self.data, self.kind)

    @cached_property
    def cells(self):
        """AnnData of the cells that a model may see."""
        return training_cells(self._read, self.data, self.split)

    @cached_property
    def task(self):
        return Task(self.data, self.split)

    @cached_property
    def hash(self):
        """Of file, layout and split."""
        text = json.dumps([fingerprint(self.path), self.layout, asdict(self.split)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def genes(self):
        """Whether its conditions name genes, so that a model can be told what was done."""
        return not self.layout["treatment"]

    def about(self):
        """The data and the split in words."""
        data, split = self.data, self.split
        said = f"`{self.path.name}`: {len(data.code):,} cells, {int(data.control.sum()):,} of them"
        said += f" control, {len(data.genes):,} genes."
        if split.kind == "cells":
            return f"{said} A fifth of the cells of each condition held out (seed {split.seed})."
        return (
            f"{said} Split {split.kind} (seed {split.seed}): {len(split.train)} conditions to train"
            f" on, {len(split.val)} for validation, {len(split.test)} to test."
        )

    def notes(self):
        """What has to be kept in mind, sentences."""
        found = [f"{n} cells left out: {why}." for why, n in self.data.left_out.items()]
        if self.data.unknown:
            found.append(
                f"{len(self.data.unknown)} perturbed genes have no column in the data: models are"
                " shown them as zeros with a flag."
            )
        if untrained := self.task.untrained:
            found.append(
                "Fewer of their genes are in a training condition than their group says, which"
                f" counts the genes of GEARS' draw: {', '.join(untrained)}."
            )
        return found


def cases_of(asked):
    """The cases that are asked for: one's own files, or those of a folder laid out as JAXCELL_DATA.

    Raises
    ------
    ValueError, FileNotFoundError
        No data, a file that is not there, or options of one's own files without any.
    """
    options = asked.options
    given = [Path(path) for path in asked.data]
    own = {name: options[name] for name in LAYOUT}
    if given and not given[0].is_dir():
        kind = options["kind"] or ("cells" if own["treatment"] else "simulation")
        return [Case(path.stem, path, own, kind) for path in given]
    folder = given[0] if given else Path(os.environ.get("JAXCELL_DATA", ""))
    if len(given) > 1 or not str(folder) or not folder.is_dir() or folder == Path():
        raise ValueError(
            "--data: found no file and no folder, expected h5ad files or one folder laid out as"
            " JAXCELL_DATA (or that variable)"
        )
    if own != _DEFAULT:
        changed = [name for name in LAYOUT if own[name] != _DEFAULT[name]]
        raise ValueError(f"--{changed[0]}: of one's own files only (--data FILE)")
    norman = dict(_DEFAULT, control="control", cells="dataset=norman19")
    kang = dict(_DEFAULT, condition="stim", treatment=True, values="counts")
    folder = folder / "perturbation"
    return [
        Case("Norman 2019", folder / NORMAN, norman, options["kind"] or "simulation"),
        Case("Kang 2018, IFN-β", folder / KANG, kang, "cells"),
    ]


_DEFAULT = {"condition": "condition", "control": CONTROL, "separator": JOINED, "treatment": False,
            "cells": "", "values": "log"}  # fmt: skip
