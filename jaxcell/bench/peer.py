"""Ours beside the plain PyTorch TxFM of `bench.torch_txfm`, by turns; for step and embed."""

import sys

from jaxcell.bench import report, turns


def beside_torch(c, ours, theirs, number, out, what):
    """Run both sides, show their medians and ratio, and write them where asked.

    Parameters
    ----------
    c : the settled config; both sides read it from this command's own --config flags
    ours, theirs : arguments of `python -m` behind which those flags are put
    number : turns of each side
    out : folder for JSON and picture, or ''
    what : is measured, for the picture

    Raises
    ------
    ValueError
        For a config that the PyTorch model is not.
    """
    check(c)
    same = [a for a in sys.argv[1:] if a.startswith("--config")]
    sides = {"jaxcell": [*ours, *same], "torch": [*theirs, *same]}
    found = turns.alternate(sides, number)
    ratio = found["jaxcell"]["cells_per_s"] / found["torch"]["cells_per_s"]
    report.write_sides({**found, "ratio": ratio}, out, what)


def check(c):
    """Raise ValueError where the config's model is another than the PyTorch one."""
    heads, e = c.model.heads, c.model.encoder
    head = heads.get("expression", {})
    same = (
        set(heads) == {"expression"}
        and (head.get("kind"), head.get("activation")) == ("vocabulary_mlp", "rectified_tanh")
        and c.losses.get("expression", {}).get("kind") == "poisson_log1p"
        and (c.model.combine, c.model.pool, c.model.norm) == ("concat", "cls", "")
        and (e.norm_first, e.norm, e.activation, e.attention) == (True, "layer", "gelu", "exact")
        and (e.dropout, e.bias, e.causal, bool(e.layer_scale)) == (0.0, True, False, True)
    )
    if not same:
        raise ValueError(
            f"--peer: the PyTorch model is TxFM with its Poisson loss, {c.name} is not"
        )
