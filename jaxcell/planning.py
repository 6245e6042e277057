"""What a run will need, before it starts: as ``--dry_run`` estimates it, or as a compiler says.

``plan`` compiles a config's real training step, for a TPU slice that is not there or for this
machine, on shapes alone: no array of the model is ever made.
"""

import json
from pathlib import Path

from jaxcell import config, fitting
from jaxcell.models.cell import CellModel, count_parameters, queries_of
from jaxcell.models.cost import forward_flops, training_flops
from jaxcell.topologies import LOCAL, machine_of
from jaxcell.training import setup
from jaxcell.training.shapes import tokens_of
from jaxcell.trials import Trials

# The size that takes the second place of the tokens in attention of linear cost.
LINEAR = {"performer": "features", "nystrom": "landmarks"}


def memory(c, devices, itemsize):
    """Estimated bytes on each device, from the config alone (nothing is compiled).

    States: parameters, their gradients and AdamW's two moments, 16 bytes a parameter (14 with
    ``optimizer.moments`` bfloat16), over the fsdp and tensor axes. Activations of this device's
    cells: what autodiff keeps of each block (about 18 arrays of [T, D], 4 of them of width 4 D in
    the MLP already counted, and the softmax weights [H, T, T] in float32 and in the compute dtype;
    of a last block that computes CLS alone eight arrays [T, D], the tokens' own among them, and
    weights [H, T]); six float32 panels [R].

    Returns
    -------
    dict with 'states' and 'activations' in bytes
    """
    m, e, t = c.model, c.model.encoder, tokens_of(c)
    axes = c.mesh.fsdp * c.mesh.tensor
    cells = -(-c.train.batch_size // (c.train.accumulate * max(devices // c.mesh.tensor, 1)))
    scores = t * t if e.attention == "exact" else t * min(t, e[LINEAR[e.attention]])
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


def describe(c, devices, itemsize, device, steps, data):
    """The lines of a dry run: {what: text}.

    Parameters
    ----------
    c : the config, its vocabulary already the store's
    devices : how many
    itemsize : bytes of the compute dtype
    device : name of the device kind
    steps : optimizer steps, None when there is no store to count cells in
    data : one line about the store
    """
    t, need = tokens_of(c), memory(c, devices, itemsize)
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


def plan(c, topology=LOCAL, batch=None, *, memory=None, search=True, out=None, say=None):
    """Whether a config's training step fits on a machine, by compiling it: ``jaxcell.plan``.

    Parameters
    ----------
    c : ConfigDict, or the path of one: 'configs/txfm_b.py[:variant]'. With ``data.store`` the
        store's genes and classes count, without one the config's own
    topology : a TPU slice that need not be there (v5e:4x4, v5p:2x2x2, v6e:16x16; needs the extra
        tpu), or 'local': the devices of this process
    batch : cells of an optimizer step, over all devices; the config's by default
    memory : bytes of each device that a program may use; the compiler's or the machine's own
        limit by default
    search : also find the largest batch that fits, in up to eight more compiles
    out : JSON file to write
    say : given a line before and after each compile, `print` for instance

    Returns
    -------
    dict with 'asked' (the batch that was asked for), 'largest' (the largest that was seen to fit,
    None where not even one cell a device does or no search was made), 'fails' (the smallest that
    was seen not to fit) and the facts of model and machine. A batch has 'batch', 'cells' (of a
    device, in a micro-batch), 'fits', 'seconds' and 'needed' bytes of a device (None where the
    compiler does not tell); one that compiled also 'split' ({part: bytes}), 'buffers' (the
    largest), 'collectives' ({kind: {count, bytes}} of a step, on each device) and 'exchanges' (the
    largest of them)

    Raises
    ------
    ValueError
        For a config that does not hold, a topology that does not exist, a batch that the mesh does
        not divide.
    ImportError
        For a TPU slice without libtpu.
    """
    say = say or (lambda line: None)
    c = config.settled(config.load(c) if isinstance(c, str | Path) else c)
    if batch is not None:
        c.train.batch_size = int(batch)
    machine = machine_of(topology, memory)
    setup.check(c, machine.platform)
    step = Trials(c, topology, machine, say)
    asked = step.attempt(step.per_device(c.train.batch_size))
    fits = fails = None
    if search:
        fits, fails = fitting.largest(step.attempt, asked, step.fixed, machine.memory)
    told = step.told
    found = {
        **step.facts(),
        "asked": told[asked.cells],
        "largest": told[fits.cells] if fits else None,
        "fails": told[fails.cells] if fails else None,
        "tried": [{k: told[n][k] for k in ("batch", "fits", "needed", "seconds")} for n in told],
    }
    if out:
        Path(out).write_text(json.dumps(found, indent=1) + "\n")
    return found
