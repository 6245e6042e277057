"""One training step as a pure function, and the state it carries.

Imports jax, flax, optax, chex and ml_collections only, so that it runs where nothing else is.
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxcell import sharding
from jaxcell.losses import total as losses
from jaxcell.models.expression_heads import bias_at
from jaxcell.models.fields import next_ids
from jaxcell.models.layers import real_rows
from jaxcell.training import lora, optim
from jaxcell.training.gradients import make_gradients
from jaxcell.training.machine import model_of
from jaxcell.training.masking import mask_tokens
from jaxcell.training.panel import add_panel, at_tokens, binned, has_next, of_measured, shown
from jaxcell.training.shapes import batch_shapes, table_shapes


@chex.dataclass
class State:
    """All that a run carries from step to step; ``key`` is uint32 key data."""

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    key: jax.Array


def initial_state(model, c, optimizer, tables):
    """Parameters, optimizer state and key from ``c.seed``; jit it with out_shardings.

    With ``c.train.bias_at_means`` each expression head starts as the mean predictor: its bias is
    the inverse activation of ``tables["mean"]``. Without it a run needs thousands of steps to get
    there.
    """
    key = jax.random.key(c.seed)
    variables = model.init(key)
    params = variables["params"]
    if c.train.bias_at_means:
        for name, head in model.spec.heads.items():
            bias = bias_at(head, tables, params["heads"][name].get("bias"))
            if bias is not None:
                bias = real_rows(bias, model.spec.vocabulary).astype(jnp.float32)
                params["heads"][name] = {**params["heads"][name], "bias": bias}
    params = lora.add(params, jax.random.fold_in(key, 2), c.train.lora)
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(optim.split(params, c.optimizer.frozen)[0]),
        key=jax.random.key_data(jax.random.fold_in(key, 1)),
    )


def make_forward(model, c):
    """(variables, batch, tables, …) -> the batch with its panel, outputs, new statistics."""
    how, pair, genes = c.data.normalise, c.data.pair, model.spec.vocabulary

    named = set(losses.paths_of(c.losses))
    again = any(path.startswith("again.") for path in named)

    def forward(variables, batch, tables, *, train, rngs=None, progress=1.0):
        given = how.library_size, how.scale, how.given
        batch = add_panel(batch, tables, model.rows, *given)
        batch["progress"] = progress
        for path in named & of_tokens.keys():
            batch[path.removeprefix("batch.")] = of_tokens[path](batch, tables)
        if c.targets:
            rows = {k: (t, batch["labels"][k]) for k, t in tables["targets"].items()}
            # Of an unknown class NaN: a loss whose ``where`` lets it through stops the run.
            batch["targets"] = {
                k: jnp.where(code[:, None] >= 0, t[code], jnp.nan) for k, (t, code) in rows.items()
            }
        if "draws" in batch:
            batch = mask_tokens(batch, tables, c)
        variables = {**variables, "params": lora.merged(variables["params"], c.train.lora)}
        outputs, stats = model.apply(variables, batch, tables, train=train, rngs=rngs)
        if again:  # with other dropout; running statistics move once a step
            other = {k: jax.random.fold_in(key, 1) for k, key in (rngs or {}).items()}
            more = dict(train=train, rngs=other, heads=False)
            outputs["again"] = model.apply(variables, batch, tables, **more)[0]
        return batch, outputs, stats

    of_tokens = {
        "batch.shown": lambda batch, tables: shown(batch, model.rows),
        "batch.token_mean": lambda batch, tables: at_tokens(tables["mean"][None], batch),
        "batch.token_panel": lambda batch, tables: at_tokens(batch["panel"], batch),
        "batch.token_measured": lambda batch, tables: of_measured(batch, genes),
        "batch.token_bins": lambda batch, tables: binned(
            at_tokens(batch["panel"], batch), pair.bins, pair.width
        ),
        "batch.next": lambda batch, tables: has_next(batch),
        "batch.next_ids": lambda batch, tables: next_ids(batch["ids"], batch["length"]),
        "batch.next_values": lambda batch, tables: jnp.roll(batch["values"], -1, axis=1),
    }
    return forward


def make_parts(model, c):
    """(variables, batch, tables, …) -> {loss: (numerator, denominator)}, new statistics."""
    forward = make_forward(model, c)

    def parts(variables, batch, tables, *, train, **more):
        batch, outputs, stats = forward(variables, batch, tables, train=train, **more)
        return losses.total(c.losses, outputs, batch, tables), stats

    return parts


def make_train_step(model, c, optimizer, steps=1):
    """``step(state, batch, tables) -> (state, metrics)``, to be jitted with the state donated.

    steps : of the run, for losses that join behind a share of them

    metrics holds every loss's mean, 'loss' (the weighted sum that is minimised) and 'grad_norm'
    (of the parameters that train).
    """
    gradients = make_gradients(make_parts(model, c), c)

    def step(state, batch, tables):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        params, frozen = optim.split(state.params, c.optimizer.frozen)
        progress = state.step / steps
        found, stats, grads = gradients(
            params, frozen, state.batch_stats, batch, tables, key, progress
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        new = state.replace(
            step=state.step + 1,
            params=optim.merge(optax.apply_updates(params, updates), frozen),
            batch_stats=stats,
            opt_state=opt_state,
        )
        loss = losses.weighted(c.losses, found, progress, c.normalise_weights)
        return new, {**losses.divide(found), "loss": loss, "grad_norm": optax.tree.norm(grads)}

    return step


def make_eval_step(model, c):
    """``step(params, batch_stats, batch, tables)`` -> {loss: (numerator, denominator)}."""
    parts = make_parts(model, c)

    def step(params, batch_stats, batch, tables):
        variables = {"params": params, "batch_stats": batch_stats}
        return parts(variables, batch, tables, train=False)[0]

    return step


def check_parts(c, platform=None):
    """Trace the model and its losses on shapes alone, so that a wrong kind or path is known early.

    platform : 'tpu', 'gpu' or 'cpu', for a plan of another machine; this process's by default

    Raises
    ------
    ValueError
        From the registry or the losses: an unknown kind, argument or path, with what there is.
    """
    model = model_of(c, platform)

    batch, tables = batch_shapes(c, 1, 1), table_shapes(c)
    variables = model.shapes()
    optim.split(variables["params"], c.optimizer.frozen)
    forward = make_forward(model, c)

    def outputs_of(variables, batch, tables):
        batch, outputs, _ = forward(variables, batch, tables, train=False)
        losses.total(c.losses, outputs, batch, tables)
        return outputs

    outputs = jax.eval_shape(outputs_of, variables, batch, tables)
    if path := c.train.gene_errors:
        shape = getattr(losses.resolve(outputs, path, "config.train.gene_errors"), "shape", "parts")
        tokens = c.train.gene_among == "masked"
        if shape != (batch["ids"].shape if tokens else (1, model.rows)):
            raise ValueError(
                f"config.train.gene_errors: {path!r} has {shape} for a cell, expected one value "
                f"for each {'token' if tokens else 'gene'}, as train.gene_among = "
                f"{c.train.gene_among!r} compares; '' measures no errors"
            )
    known = [f"val/{k}" for k in ("loss", *c.losses, "avg_bio")]
    if c.best[0] not in known:
        raise ValueError(f"config.best: {c.best[0]!r} is unknown; known are {', '.join(known)}")


def lay_out(model, c, optimizer, mesh, tables, steps=1):
    """The programs of a run of so many steps on a mesh, of which nothing needs to be there.

    Parameters
    ----------
    tables : arrays, or their shapes as ``table_shapes`` has them

    Returns
    -------
    init : tables -> State on the mesh, laid out by the config's rules
    train_step : (state, batch, tables) -> (state, metrics); donates the state
    eval_step : (params, batch_stats, batch, tables) -> sums
    layout : State of the shardings
    """
    sharding.rows_divide(c.train.batch_size, mesh, c.train.accumulate)
    whole, rows = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    init = functools.partial(initial_state, model, c, optimizer)
    with jax.set_mesh(mesh):  # as `compile_steps` calls it, which so need not trace it again
        layout = sharding.state_shardings(jax.eval_shape(init, tables), c.sharding, mesh)
    train_step = jax.jit(
        make_train_step(model, c, optimizer, steps),
        in_shardings=(layout, rows, whole),
        out_shardings=(layout, whole),
        donate_argnums=0,
    )
    eval_step = jax.jit(
        make_eval_step(model, c),
        in_shardings=(layout.params, layout.batch_stats, rows, whole),
        out_shardings=whole,
    )
    return jax.jit(init, out_shardings=layout), train_step, eval_step, layout


def compile_steps(model, c, optimizer, mesh, tables, steps=1):
    """Place a run of so many steps on a mesh.

    Returns
    -------
    state : State on the mesh, laid out by the config's rules
    train_step, eval_step : see ``lay_out``
    tables : the tables, replicated on the mesh
    """
    tables = sharding.put(tables, sharding.replicated(mesh))
    init, train_step, eval_step, _ = lay_out(model, c, optimizer, mesh, tables, steps)
    with jax.set_mesh(mesh):
        state = init(tables)
    return state, train_step, eval_step, tables
