"""The suites there are, by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

from jaxcell.ablations import bioformers, scformer, txfm
from jaxcell.ablations.integration_bench import IntegrationBench, IntegrationCells
from jaxcell.ablations.masked_bench import MaskedBench, MaskedCells
from jaxcell.ablations.txfm_bench import Experiment, TxfmBench
from jaxcell.evaluation import ablation_table, integration_table, masked_table
from jaxcell.registry import lookup


@dataclass(frozen=True)
class Suite:
    """An ablation as data.

    budgets : {name: Budget}, the small one first
    blocks : default config -> [(title, [Arm, …]), …], the default arm in some of them
    experiment : class of the files; its ``of(folder)`` finds the suite's own
    bench : (experiment, out, budget) -> what `runner.ablate` asks; see there
    tables : module: ``finish(results)`` completes them, ``text`` and ``page`` show them
    variants : {name: change of a config}, of the suite's arms beside those of every config
    looks : validations of a run; 0: one an epoch
    """

    budgets: dict
    blocks: Callable
    experiment: type
    bench: type
    tables: ModuleType
    variants: dict = field(default_factory=dict)
    looks: int = 0

    def budget(self, name):
        """The Budget of a name.

        Raises
        ------
        ValueError
            For an unknown one.
        """
        return lookup(self.budgets, name, "budget")


SUITES = {
    "txfm": Suite(
        txfm.BUDGETS,
        txfm.blocks,
        Experiment,
        TxfmBench,
        ablation_table,
        looks=4,  # an arm that diverges has a model from before
    ),
    "scformer": Suite(
        scformer.BUDGETS,
        scformer.blocks,
        IntegrationCells,
        IntegrationBench,
        integration_table,
        variants=scformer.VARIANTS,
    ),
    "bioformers": Suite(
        bioformers.BUDGETS,
        bioformers.blocks,
        MaskedCells,
        MaskedBench,
        masked_table,
        variants=bioformers.VARIANTS,
    ),
}


def suite(name):
    """The Suite of a name.

    Raises
    ------
    ValueError
        For an unknown one.
    """
    return lookup(SUITES, name, "suite")
