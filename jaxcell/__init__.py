"""Transcriptomic foundation models in JAX: prepare, train, embed, evaluate."""

import importlib

__version__ = "0.1.0"

# Each verb is imported where it is first used, so that `import jaxcell` stays below a second.
_VERBS = {
    "read": "jaxcell.reading",
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
