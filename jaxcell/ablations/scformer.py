"""The arms of scFormer's ablation, its Tables 3 and 7, around a default config."""

from jaxcell.ablations.arms import Arm, Budget
from jaxcell.config import SCFORMER, scformer, variant
from jaxcell.evaluation.ablation_table import DEFAULT

RATIOS = (0.15, 0.75)  # beside the default of 0.4


def without(*names):
    """Leave out losses (NAME and NAME_…) and the heads of these names.

    Where no masked gene is predicted any more, none is masked. Where the best step went by a loss
    that is gone, it goes by the first of MGM, MVC and ECS that is left.
    """

    def change(c):
        for room in (c.losses, c.model.heads):
            for one in [one for one in room if one.partition("_")[0] in names]:
                del room[one]
        if not any(one.get("target") == "batch.target" for one in c.losses.values()):
            c.data.transforms = tuple(t for t in c.data.transforms if t != "draw_masks")
        if c.best[0].removeprefix("val/") not in ("loss", *c.losses):
            left = [name for name in ("mgm", "mvc", "ecs") if name in c.losses]
            c.best = (f"val/{left[0] if left else 'loss'}", "min")
        return c

    return change


VARIANTS = {
    **SCFORMER,
    **{f"no_{name}": without(name) for name in ("mgm", "mvc", "dar", "ecs")},
}


def small(c):
    """The variant :cpu, 2 blocks × 64 and 10 epochs: the suite in an hour on two cores."""
    return variant(scformer(c), "cpu", **VARIANTS)


def medium(c):
    """The paper's 4 blocks × 128 for 10 epochs: an hour of one GPU, a day of two cores."""
    c = large(c)
    c.epochs = 10
    return c


def large(c):
    """The paper's size, 4 blocks × 128, 30 epochs; losses as the small one has them, ':code'."""
    c = scformer(c)
    e = c.model.encoder
    c.model.width, e.layers, e.hidden = 128, 4, 128
    c.train.batch_size = 16
    return c


BUDGETS = {
    "small": Budget(small, seeds=3, cells=1000, genes=150),
    "medium": Budget(medium, seeds=3, genes=600),
    "large": Budget(large, seeds=5, genes=1200),
}


def blocks(c):
    """The nine options: [(title, [Arm, …])].

    Without MGM or MVC neither the loss nor the head is there; without both no gene is masked, where
    the repository would mask them and predict none. Without DSBN the input has plain batch norm
    with scale and bias, as in the repository.
    """
    left_out = [
        Arm("w/o MGM", "no_mgm", "no_mgm"),
        Arm("w/o MVC", "no_mvc", "no_mvc"),
        Arm("w/o MGM, MVC", "no_mgm_mvc", "no_mgm,no_mvc"),
        Arm("w/o DAR", "no_dar", "no_dar"),
        Arm("w/o DSBN", "no_dsbn", fields={"model.norm": "batch", "model.domain.affine": True}),
        Arm("w/o ECS", "no_ecs", "no_ecs"),
    ]
    ratios = [
        Arm(f"mask {100 * r:g} %", f"mask{100 * r:g}", fields={"data.draw_masks.ratio": r})
        for r in RATIOS
    ]
    return [("scFormer", [*left_out, *ratios, Arm("scFormer (full)", DEFAULT)])]
