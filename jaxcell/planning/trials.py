"""Compiling a config's training step for one number of cells after the other.

On shapes alone: no array of the model is ever made.
"""

import importlib.metadata
import math
import time

import jax

from jaxcell import sharding
from jaxcell.models.cell import count_parameters
from jaxcell.models.cost import training_flops
from jaxcell.planning import compiled, fitting
from jaxcell.planning.collectives import by_kind, collectives
from jaxcell.planning.topologies import COMPILER, LOCAL
from jaxcell.progress import duration
from jaxcell.training import optim, setup
from jaxcell.training.machine import compute_dtype, model_of
from jaxcell.training.shapes import batch_shapes, table_shapes, tokens_of
from jaxcell.training.step import lay_out

PANEL = 8192  # genes with a count in a cell, at most, where no store tells
GIB = 2**30


class Trials:
    """A config's training step on a machine's mesh, to be compiled for any number of cells."""

    def __init__(self, c, topology, machine, say, most=1):
        self.most, self.seconds = most, []  # compiles at most, and what each of them took
        self.c, self.topology, self.machine, self.say = c, topology, machine, say
        self.panel = min(PANEL, c.model.vocabulary)
        if c.data.store:
            from jaxcell.data.unprepared import open_store

            store = open_store(c, say)
            setup.adopt(c, store, say)
            self.panel = store.panel_width
        self.mesh = sharding.make_mesh(c.mesh, machine.devices)
        self.model = model_of(c, machine.platform, self._note)
        self.tables, self.told = table_shapes(c), {}
        # The schedule needs a length; it does not change what a step needs.
        self.optimizer = optim.build(c, 1000)
        init, _, _, layout = lay_out(self.model, c, self.optimizer, self.mesh, self.tables)
        self.state = jax.eval_shape(init, self.tables)
        self.states = _state_bytes(self.state, layout, c.optimizer.frozen)
        self.fixed = sum(self.states.values())

    def _note(self, line):
        self.kernel = line
        self.say(line)

    @property
    def parts(self):
        """Micro-batches of a step, counted on every device: what a batch is a multiple of."""
        return self.mesh.shape["data"] * self.mesh.shape["fsdp"] * self.c.train.accumulate

    def per_device(self, batch):
        """Cells of a micro-batch on each device."""
        return batch // self.parts  # lay_out has refused what does not divide

    def attempt(self, cells):
        """Compile for so many cells a device and keep what is learnt in ``told``."""
        c, limit = self.c, self.machine.memory
        batch = c.train.batch_size = cells * self.parts
        _, step, _, _ = lay_out(self.model, c, self.optimizer, self.mesh, self.tables)
        self.say(
            f"compiling {c.name} for {self.topology}: {batch:,} cells, {cells:,} a device"
            + (f" in each of {c.train.accumulate} micro-batches" if c.train.accumulate > 1 else "")
        )
        began = time.perf_counter()
        with jax.set_mesh(self.mesh):
            shapes = batch_shapes(c, batch, self.panel)
            program, refused = compiled.compile_or_refusal(
                step.lower(self.state, shapes, self.tables)
            )
        found = {"batch": batch, "cells": cells, "fits": False, "needed": None}
        if program is None:
            found |= {"needed": refused.needed, "buffers": [b._asdict() for b in refused.buffers]}
        else:
            found |= self._facts_of(program)
            if self.machine.told_by == COMPILER:
                # What it has accepted fits: libtpu counts some of the chip's own memory as well.
                found["needed"] = min(found["needed"], limit)
            found["fits"] = found["needed"] <= limit
        found["seconds"] = time.perf_counter() - began
        self.told[cells] = found
        self.seconds.append(found["seconds"])
        self.say(f"  {found['seconds']:.0f} s: {verdict(found, limit)}{self._left()}")
        return fitting.Trial(cells, found["fits"], found["needed"])

    def _left(self):
        """How much is left at most, by what the compiles before took."""
        left, done = self.most - len(self.seconds), len(self.seconds)
        said = f"; at most {left} more compiles, {duration(left * sum(self.seconds) / done)}"
        return said if left else ""

    def _facts_of(self, program):
        text, bytes_of = program.as_text(), compiled.memory(program)
        exchanged = collectives(text)
        split = {k: v for k, v in self.states.items() if k != "gradients"}
        # Gradients are among what is computed on the way.
        gradients = min(self.states["gradients"], bytes_of["temporary"])
        rest = bytes_of["arguments"] + bytes_of["results"] - sum(split.values())
        return {
            "needed": bytes_of["needed"],
            "split": {
                **split,
                "gradients": gradients,
                "activations": bytes_of["temporary"] - gradients,
                "batch and tables": rest,
                "program": bytes_of["program"],
            },
            "buffers": [b._asdict() for b in compiled.buffers(text)],
            "collectives": by_kind(exchanged),
            "exchanges": [one._asdict() for one in exchanged[:8]],
        }

    def facts(self):
        """What does not depend on the batch."""
        c, machine, tokens = self.c, self.machine, tokens_of(self.c)
        return {
            "config": c.name,
            "parameters": count_parameters(c.model),
            "genes": c.model.vocabulary,
            "tokens": tokens,
            "flops_per_cell": training_flops(c.model, tokens),
            "topology": self.topology,
            "devices": len(machine.devices),
            "device_kind": machine.devices[0].device_kind,
            "memory": machine.memory,
            "memory_told_by": machine.told_by,
            "mesh": dict(self.mesh.shape),
            "accumulate": c.train.accumulate,
            "remat": c.model.encoder.remat,
            "dtype": str(compute_dtype(c.dtype, machine.platform)),
            "kernel": self.kernel,
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("jax", "jaxlib", *(["libtpu"] if self.topology != LOCAL else []))
            },
        }


def _state_bytes(state, layout, frozen):
    """Bytes on each device: {'parameters', 'gradients', 'optimizer', 'other state'}."""

    def held(shapes, placed):
        return sum(
            x.dtype.itemsize * math.prod(s.shard_shape(x.shape))
            for x, s in zip(jax.tree.leaves(shapes), jax.tree.leaves(placed), strict=True)
        )

    trained = (optim.split(tree.params, frozen)[0] for tree in (state, layout))
    of = {f: held(getattr(state, f), getattr(layout, f)) for f in ("params", "opt_state")}
    return {
        "parameters": of["params"],
        "optimizer": of["opt_state"],
        "gradients": held(*trained),
        "other state": held(state, layout) - sum(of.values()),
    }


def verdict(found, limit):
    """'fits: 7.20 GiB of 15.75 GiB', of one batch of a plan."""
    said = "fits" if found["fits"] else "does not fit"
    if found["needed"] is None:
        return f"{said} in {size(limit)}"
    return f"{said}: {size(found['needed'])} of {size(limit)}"


def size(number):
    """'7.20 GiB', '3.1 MiB': bytes as text."""
    if number >= GIB / 10:
        return f"{number / GIB:.2f} GiB"
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 / 10 else f"{number / 2**10:.1f} KiB"
