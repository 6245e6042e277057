"""The mesh (data, fsdp, tensor), regex → PartitionSpec, and how host batches become global arrays.

Models name no mesh axis: they call ``shard(x, 'batch', …)`` and parameters are placed by the
config's regex rules.
"""

import re

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
LOGICAL = {"batch": ("data", "fsdp"), "vocab": "tensor", "tensor": "tensor", None: None}


def make_mesh(spec, devices=None):
    """Mesh with the axes data, fsdp and tensor.

    Parameters
    ----------
    spec : mapping axis → number of devices; one axis may be -1 and takes what is left
    devices : the devices to lay out; all of the job by default

    Raises
    ------
    ValueError
        When the product of the axes is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [int(spec[a]) for a in AXES]
    if any(n < 1 and n != -1 for n in sizes):
        raise ValueError(
            f"config.mesh: found {dict(zip(AXES, sizes, strict=True))}, expected 1 or more devices "
            "along each axis, or -1: those that are left"
        )
    free = [i for i, n in enumerate(sizes) if n == -1]
    known = int(np.prod([n for n in sizes if n != -1]))
    if len(free) == 1 and len(devices) % known == 0:
        sizes[free[0]] = len(devices) // known
    if len(free) > 1 or int(np.prod(sizes)) != len(devices):
        raise ValueError(
            f"config.mesh: {dict(zip(AXES, (int(spec[a]) for a in AXES), strict=True))} does not "
            f"lay out {len(devices)} devices; the product of the axes must be that number, and at "
            "most one axis may be -1"
        )
    return jax.make_mesh(sizes, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def shard(x, *names):
    """Constrain ``x`` to a layout named by logical axes ('batch', 'vocab', 'tensor', None).

    The identity without a mesh or on one of a single device, under shard_map's manual axes, and on
    eager arrays.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh.manual_axes or not isinstance(x, jax.core.Tracer):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*(LOGICAL[n] for n in names)))


def dot_of_whole(x, kernel, *how, **more):
    """``lax.dot_general`` of a linear layer whose kernel is gathered, and not what it multiplies.

    For kernels over 'fsdp' alone; left to itself XLA may split the layer over 'tensor' as well.
    """
    return jax.lax.dot_general(x, shard(kernel, *(None,) * kernel.ndim), *how, **more)


def path_of(keys):
    """'encoder/blocks/norm1/scale' of a key path from jax.tree_util."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in keys)


def specs(tree, rules, mesh):
    """PartitionSpecs of a parameter tree by the first rule whose regex matches a parameter's path.

    Parameters
    ----------
    tree : nested dict of arrays or ShapeDtypeStructs
    rules : sequence of (regex, tuple of mesh axes or None, one for each dimension); () replicates
    mesh : the mesh, for the check that dimensions divide

    Raises
    ------
    ValueError
        For a parameter that no rule matches, or whose dimension does not divide by its axis.
    """

    def one(keys, leaf):
        path = path_of(keys)
        for pattern, axes in rules:
            if re.search(pattern, path):
                return _checked(path, leaf.shape, axes, mesh)
        raise ValueError(
            f"config.sharding: no rule matches the parameter {path} {leaf.shape}; "
            "add a (regex, axes) pair for it"
        )

    return jax.tree_util.tree_map_with_path(one, tree)


def _checked(path, shape, axes, mesh):
    if len(axes) > len(shape):
        raise ValueError(f"config.sharding: {axes} has more axes than {path} {shape}")
    for size, axis in zip(shape, axes, strict=False):
        parts = mesh.shape[axis] if axis else 1
        if size % parts:
            raise ValueError(
                f"config.sharding: {path} {shape} does not divide by {axis} = {parts}; "
                "choose another mesh, width, or model.vocab_multiple"
            )
    return PartitionSpec(*axes)


def state_shardings(state, rules, mesh):
    """NamedShardings of a whole training state.

    Parameters follow the rules, and so does what the optimizer keeps under a parameter's path in
    its shape (moments; none of frozen parameters). Counters, keys and statistics are replicated.
    """
    params = specs(state.params, rules, mesh)
    shapes = {path_of(k): x.shape for k, x in jax.tree_util.tree_leaves_with_path(state.params)}
    known = {
        path_of(k): spec
        for k, spec in jax.tree_util.tree_leaves_with_path(
            params, is_leaf=lambda s: isinstance(s, PartitionSpec)
        )
    }

    def place(keys, leaf):
        # '0/mu/encoder/norm/scale' is the moment of 'encoder/norm/scale'.
        for i in range(len(keys)):
            path = path_of(keys[i:])
            if path in known and shapes[path] == leaf.shape:
                return known[path]
        return PartitionSpec()

    placed = state.replace(
        params=params,
        opt_state=jax.tree_util.tree_map_with_path(place, state.opt_state),
        **{
            f: jax.tree.map(lambda _: PartitionSpec(), getattr(state, f))
            for f in ("step", "batch_stats", "key")
        },
    )
    return jax.tree.map(
        lambda s: NamedSharding(mesh, s), placed, is_leaf=lambda s: isinstance(s, PartitionSpec)
    )


def table(tree):
    """What each device holds of a parameter tree, for ``run.json`` and the golden files.

    Parameters
    ----------
    tree : nested dict of arrays, or of ShapeDtypeStructs that have a sharding

    Returns
    -------
    {path: {'shape', 'spec' (mesh axis of each dimension; [] replicates), 'bytes' on a device}}
    """
    found = {}
    for keys, x in jax.tree_util.tree_leaves_with_path(tree):
        local = x.sharding.shard_shape(x.shape)
        found[path_of(keys)] = {
            "shape": list(x.shape),
            "spec": list(getattr(x.sharding, "spec", ())),
            "bytes": int(np.prod(local)) * x.dtype.itemsize,
        }
    return found


def replicated(mesh):
    """The sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh):
    """The sharding of a batch: rows over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(LOGICAL["batch"]))


def rows_divide(batch_size, mesh, accumulate=1):
    """Raise when a batch's micro-batches do not divide over the mesh's data and fsdp axes."""
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    parts = devices * accumulate
    if batch_size % parts:
        each = f" {accumulate} micro-batches on each of" if accumulate > 1 else ""
        raise ValueError(
            f"config.train.batch_size: {batch_size} cells do not divide over{each} data × fsdp = "
            f"{devices} devices; take a multiple of {parts}"
        )


def put(tree, sharding):
    """What every process holds whole (numpy) → global arrays of that sharding."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # device_put would gather the arrays of all processes on each device, to compare them.
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__),
        tree,
    )


def _parts_here(mesh):
    """Which of a batch's data × fsdp parts the devices of this process hold, ascending."""
    number = mesh.shape["data"] * mesh.shape["fsdp"]
    held = batch_sharding(mesh).addressable_devices_indices_map((number,))
    return sorted({index[0].start or 0 for index in held.values()}), number


def rows_here(mesh, batch_size):
    """Which rows of a batch this process has to read: int [b], ascending.

    Those of its devices: where the axis tensor spans processes these read the same rows, and they
    need not be contiguous, since a TPU's mesh follows its wires.
    """
    parts, number = _parts_here(mesh)
    each = batch_size // number
    return (np.array(parts)[:, None] * each + np.arange(each)).ravel()


def to_global(batch, mesh):
    """Rows of this process (nested dict of numpy) → global arrays over ('data', 'fsdp').

    The rows are those of `rows_here`.
    """
    sharding = batch_sharding(mesh)
    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)
    parts, number = _parts_here(mesh)

    def place(x):
        each = len(x) // len(parts)

        def part(index):
            first = parts.index((index[0].start or 0) // each) * each
            return x[first : first + each]

        return jax.make_array_from_callback((each * number, *x.shape[1:]), sharding, part)

    return jax.tree.map(place, batch)
