"""The arms of BioFormers' Tables 2–4: masks (m, p), and the same model on other data."""

from jaxcell.ablations.arms import Arm, Budget
from jaxcell.config import BIOFORMERS as VARIANTS
from jaxcell.config import bioformers, variant
from jaxcell.evaluation.ablation_table import DEFAULT

MASKS = ((0.05, 0.5), (0.025, 0.5), (0.1, 0.75), (0.1, 0.25))  # beside the default of .1, .5
OTHER = "other"


def small(c):
    """The variant :cpu, 2 blocks × 64 and 10 epochs: the suite in half an hour on two cores."""
    return variant(bioformers(c), "cpu", **VARIANTS)


def large(c):
    """The paper's size. Its 2 000 steps of warm-up would be most of a smaller data set's run."""
    c = bioformers(c)
    c.optimizer.warmup_steps, c.optimizer.warmup = 0, 0.1
    return c


BUDGETS = {
    "small": Budget(small, cells=1000, genes=300),
    "medium": Budget(large, genes=600),
    "large": Budget(large, genes=2000),
}


def blocks(c):
    """The papers' rows: [(title, [Arm, …]), …], each title a table's."""

    def masks(m, p):
        fields = {"data.draw_masks.ratio": m, "data.draw_masks.nonzero": p}
        return Arm(f"m {m:g}, p {p:g}", f"m{m:g}_p{p:g}", fields=fields)

    default = Arm("m 0.1, p 0.5", DEFAULT)
    scaled = Arm("m 0.1, p 0.5, normalised", "normalised", "normalised")
    return [
        ("masks", [default, scaled, *(masks(m, p) for m, p in MASKS)]),
        ("data", [default, Arm("the same on other data", "other_data", data=OTHER)]),
    ]
