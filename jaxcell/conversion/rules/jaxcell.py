"""Our own models in PyTorch: a parameter's path with dots, and torch's layouts.

``params/encoder/blocks/attention/qkv/kernel`` [N, D, 3, H, C] is ``encoder.blocks.0.attention.
qkv.weight`` (3D, D) and so on; statistics of norms are buffers. Gene tables have no padded rows.
"""

import re

from jaxcell.conversion.torch import Rule

# End of our path, of the torch name, and how it is laid out; the first that fits. ``in``, which no
# attribute of Python can be called, is ``hidden`` there.
LAYOUTS = tuple(
    (re.compile(ours), torch, how)
    for ours, torch, how in (
        (r"(.+/qkv)/kernel", r"\1.weight", "linear"),  # [D, 3, H, C]
        (r"(.+/qkv)/bias", r"\1.bias", "flat"),  # [3, H, C]
        (r"(.+/attention/out)/kernel", r"\1.weight", "joined"),  # [H, C, D]
        (r"(.+)/in[/_]kernel", r"\1.hidden.weight", "linear"),
        (r"(.+)/in[/_]bias", r"\1.hidden.bias", "same"),
        (r"(.+)/(product|zero|out)_kernel", r"\1.\2.weight", "linear"),
        (r"(.+)/(zero|out|parts)_bias", r"\1.\2.bias", "same"),
        (r"(.+)/kernel", r"\1.weight", "linear"),
        (r"(.+)/scale", r"\1.weight", "same"),
        (r"(heads/\w+)/bias", r"\1.rows.bias", "same"),
        (r"(.+/(?:embedding|rows|parts|slope|specials))", r"\1.weight", "same"),
        (r"(.+/(?:bias|basis|features|values|mean|var|seen))", r"\1", "same"),
    )
)
PADDED = ("genes", "tokens")  # what a padded table has rows for, and its layout


def rules_of(shapes, rows):
    """The `Rule` of each parameter of a model.

    Parameters
    ----------
    shapes : {path: shape}, with its collection: params/…, batch_stats/…
    rows : {path: (axis, length, what)}, see `jaxcell.training.rows.row_axes`

    Raises
    ------
    ValueError
        A parameter that the table does not know.
    """
    return tuple(_rule(path, rows.get(path, (0, 0, ""))) for path in sorted(shapes))


def _rule(path, rows):
    _, _, own = path.partition("/")
    found = ((one.fullmatch(own), torch, how) for one, torch, how in LAYOUTS)
    match, torch, how = next((one for one in found if one[0]), (None, "", ""))
    if match is None:
        raise ValueError(f"the parameter {path} has no name in torch: rules/jaxcell.py lacks it")
    axis, _, what = rows
    if what in PADDED:
        if axis or how != "same":
            raise ValueError(f"the parameter {path}: a gene table's rows are expected first")
        how = what
    name = match.expand(torch).replace("/", ".")
    name = re.sub(r"^condition_", "conditions.", name)
    name = re.sub(r"^encoder\.blocks\.", "encoder.blocks.{at}.", name)
    # The one block without its first norm is no stack of blocks there.
    return Rule(name, path, how, at=0 if name.startswith("encoder.first.") else None)
