"""Transcriptomic foundation models in JAX: prepare, train, embed, evaluate."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `_VERBS` says, for type checkers and editors
    from jaxcell.ablations.runner import ablate as ablate
    from jaxcell.cell_types import annotation as annotation
    from jaxcell.completion import complete as complete
    from jaxcell.conversion.convert import convert as convert
    from jaxcell.curation import phenoprint as phenoprint
    from jaxcell.data.corpora.listing import manifest as manifest
    from jaxcell.data.prepare import prepare as prepare
    from jaxcell.data.verification import verify as verify
    from jaxcell.diagnosis import doctor as doctor
    from jaxcell.embedding import embed as embed
    from jaxcell.evaluation.gene_report import relations as relations
    from jaxcell.evaluation.learnability_report import learnability as learnability
    from jaxcell.evaluation.perturbation.report import (
        evaluate_perturbations as evaluate_perturbations,
    )
    from jaxcell.evaluation.perturbation.report import perturbation_split as perturbation_split
    from jaxcell.evaluation.report import evaluate as evaluate
    from jaxcell.explain import attributions as attributions
    from jaxcell.gene_vectors import genes as genes
    from jaxcell.inspection import inspect as inspect
    from jaxcell.main import train as train
    from jaxcell.masked_prediction import masked_genes as masked_genes
    from jaxcell.networks import network as network
    from jaxcell.perturbation import perturb as perturb
    from jaxcell.planning.plan import plan as plan
    from jaxcell.reading import read as read
    from jaxcell.resuming import resume as resume
    from jaxcell.suites.runner import benchmark as benchmark
    from jaxcell.training.gene_errors import gene_errors as gene_errors
    from jaxcell.training.report import report as report

__version__ = "0.1.0"

# Each verb is imported where it is first used, so that `import jaxcell` stays below a second.
_VERBS = {
    "read": "jaxcell.reading",
    "doctor": "jaxcell.diagnosis",
    "prepare": "jaxcell.data.prepare",
    "manifest": "jaxcell.data.corpora.listing",
    "inspect": "jaxcell.inspection",
    "verify": "jaxcell.data.verification",
    "train": "jaxcell.main",
    "plan": "jaxcell.planning.plan",
    "embed": "jaxcell.embedding",
    "phenoprint": "jaxcell.curation",
    "evaluate": "jaxcell.evaluation.report",
    "annotation": "jaxcell.cell_types",
    "gene_errors": "jaxcell.training.gene_errors",
    "report": "jaxcell.training.report",
    "genes": "jaxcell.gene_vectors",
    "masked_genes": "jaxcell.masked_prediction",
    "benchmark": "jaxcell.suites.runner",
    "ablate": "jaxcell.ablations.runner",
    "convert": "jaxcell.conversion.convert",
    "resume": "jaxcell.resuming",
    "relations": "jaxcell.evaluation.gene_report",
    "attributions": "jaxcell.explain",
    "complete": "jaxcell.completion",
    "network": "jaxcell.networks",
    "perturb": "jaxcell.perturbation",
    "learnability": "jaxcell.evaluation.learnability_report",
    "perturbation_split": "jaxcell.evaluation.perturbation.report",
    "evaluate_perturbations": "jaxcell.evaluation.perturbation.report",
}

__all__ = list(_VERBS)


def __getattr__(name):
    if name in _VERBS:
        return getattr(importlib.import_module(_VERBS[name]), name)
    raise AttributeError(f"module 'jaxcell' has no attribute {name!r}; it offers {__all__}")


def __dir__():
    return sorted([*globals(), *_VERBS])
