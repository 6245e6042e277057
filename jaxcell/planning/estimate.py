"""What a run will need, before it starts, from its config alone: what ``--dry_run`` prints."""

from jaxcell.models.cell import CellModel, count_parameters, queries_of
from jaxcell.models.cost import forward_flops, training_flops
from jaxcell.training.shapes import tokens_of

# The size that takes the second place of the tokens in attention of linear cost.
LINEAR = {"performer": "features", "nystrom": "landmarks"}


def memory(c, devices, itemsize, kernel="xla"):
    """Estimated bytes on each device, from the config alone (nothing is compiled).

    States: parameters, their gradients and AdamW's two moments, 16 bytes a parameter (14 with
    ``optimizer.moments`` bfloat16), over the fsdp and tensor axes. Activations of this device's
    cells: what autodiff keeps of each block (about 18 arrays of [T, D], 4 of them of width 4 D in
    the MLP already counted, and the softmax weights [H, T, T] in float32 and in the compute dtype,
    but for a ``kernel`` of `models.kernels`, which keeps none; of a last block that computes CLS
    alone eight arrays [T, D], the tokens' own among them, and weights [H, T]); six float32 panels
    [R].

    Returns
    -------
    dict with 'states' and 'activations' in bytes
    """
    m, e, t = c.model, c.model.encoder, tokens_of(c)
    axes = c.mesh.fsdp * c.mesh.tensor
    cells = -(-c.train.batch_size // (c.train.accumulate * max(devices // c.mesh.tensor, 1)))
    scores = t * t if e.attention == "exact" else t * min(t, e[LINEAR[e.attention]])
    scores = scores if kernel == "xla" else 0
    block = 18 * t * m.width * itemsize + e.heads * scores * (4 + itemsize)
    last = 8 * t * m.width * itemsize + e.heads * t * (4 + itemsize)
    whole = e.layers if queries_of(CellModel(m).spec) is None else e.layers - 1
    again = e.remat in ("full", True)
    kept = t * m.width * itemsize * whole + block * (whole > 0) if again else block * whole
    if e.remat == "dots":  # in place of 18 arrays and the weights
        kept = 11 * t * m.width * itemsize * whole + block * (whole > 0)
    kept += last if whole < e.layers else 0
    each = 14 if c.optimizer.moments == "bfloat16" else 16
    return {
        "states": each * count_parameters(c.model) // axes,
        "activations": cells * (kept + 6 * 4 * CellModel(m).rows),
    }


def describe(c, devices, itemsize, device, steps, data, kernel="xla"):
    """The lines of a dry run: {what: text}.

    Parameters
    ----------
    c : the config, its vocabulary already the store's
    devices : how many
    itemsize : bytes of the compute dtype
    device : name of the device kind
    steps : optimizer steps, None when there is no store to count cells in
    data : one line about the store
    kernel : of attention
    """
    t, need = tokens_of(c), memory(c, devices, itemsize, kernel)
    forward, step = forward_flops(c.model, t), training_flops(c.model, t)
    total = sum(need.values())
    batch = c.train.batch_size
    return {
        "config": c.name,
        "parameters": f"{count_parameters(c.model):,}",
        "genes": f"{c.model.vocabulary:,}",
        "tokens": f"{t:,} a cell ({len(c.model.front or c.model.specials)} special)",
        "FLOPs": f"{forward / 1e9:,.1f} G forward, {step / 1e9:,.1f} G training step, a cell",
        "batch": f"{batch:,} cells, {batch * step / 1e15:,.2f} PFLOP a step",
        "memory": f"about {total / 1e9:,.1f} GB a device ({need['states'] / 1e9:,.1f} parameters, "
        f"gradients and moments; {need['activations'] / 1e9:,.1f} activations), an estimate",
        "devices": f"{devices} × {device}, {8 * itemsize}-bit matrix products",
        "steps": "unknown without a store" if steps is None else f"{steps:,}",
        "data": data,
    }
