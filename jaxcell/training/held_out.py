"""What a run finds on its held-out cells: losses, errors per gene, what a monitor sees of them."""

import functools

import jax

from jaxcell import processes
from jaxcell.losses.total import divide, weighted
from jaxcell.training import gene_errors, lora
from jaxcell.training.sums import summed


class HeldOut:
    """Each method takes the `State` of a run, on whose mesh it computes.

    model : CellModel; c : its config; mesh, tables : as ``compile_steps`` has them
    eval_step : compiled, see ``lay_out``
    batches : () → `Batches` of all held-out cells, each once
    vocabulary : of the store
    """

    def __init__(self, model, c, mesh, tables, eval_step, batches, vocabulary):
        self._model, self._c, self._mesh, self._tables = model, c, mesh, tables
        self._eval_step, self._batches, self._vocabulary = eval_step, batches, vocabulary

    def losses(self, state):
        """Every loss over all held-out cells; {name: mean}, with their weighted sum as 'loss'."""
        c, variables = self._c, (state.params, state.batch_stats)

        def step(batch):
            return self._eval_step(*variables, batch, self._tables)

        sums = summed(self._batches(), step, self._mesh, "validate", c.data.threads)
        loss = weighted(c.losses, sums, normalise=c.normalise_weights)
        return {**{k: float(mean) for k, mean in divide(sums).items()}, "loss": float(loss)}

    def errors(self, state):
        """The `gene_errors.table` of all held-out cells."""
        return self._measure(self._batches(), self.variables(state), self._tables, self._vocabulary)

    def monitored(self, state, monitor):
        """What the monitor finds, on process 0 alone: it computes on one machine."""
        variables = self.variables(state)
        if processes.count() > 1:
            variables = processes.on_host(variables)
        return processes.from_first(lambda: monitor(variables))

    def variables(self, state):
        """{'params', 'batch_stats'} that a model is applied with; LoRA's factors are merged."""
        params = state.params
        if self._c.train.lora.rank:
            with jax.set_mesh(self._mesh):
                params = self._merged(params)
        return {"params": params, "batch_stats": state.batch_stats}

    @functools.cached_property
    def _measure(self):
        return gene_errors.Measure(self._model, self._c, self._mesh)

    @functools.cached_property
    def _merged(self):
        return jax.jit(functools.partial(lora.merged, lora=self._c.train.lora))
