"""Programs that are traced and compiled once for all tests of a process.

JAX's cache on disk spares the compiling of what was compiled before, not the tracing, which is
Python and takes as long. So whoever asks for the programs of a config, mesh and shapes for which
they were made before gets those. A test that patches anything makes its own.
"""

import contextlib
import functools
import json

import jax
import numpy as np

from jaxcell import forward
from jaxcell.training import gene_errors, optim, setup, step

KEPT = 24  # programs of each kind
# What of a config no program holds: where things lie, when something is written.
HOST = ("name", "best", "stages", "epochs")
HOST_DATA = ("store", "workers", "threads")
RUN = ("seed", "steps", "optimizer")  # and of what is no training's
HOST_TRAIN = ("log_every", "validate_every", "save_every", "keep_every", "tensorboard", "init_from")
_own = False


@contextlib.contextmanager
def own(wanted=True):
    """Within it programs are made anew, and not kept, where that is wanted."""
    global _own
    before, _own = _own, wanted
    try:
        yield
    finally:
        _own = before


def _text(c, *without):
    """A config without what stays on the host, and some blocks, as text."""
    plain = {k: v for k, v in c.to_dict().items() if k not in (*HOST, *without)}
    plain = {"data": {}, "train": {}, **plain}
    for block, left in (("data", HOST_DATA), ("train", HOST_TRAIN)):
        plain[block] = {k: v for k, v in plain[block].items() if k not in left}
    return json.dumps(plain, sort_keys=True, default=repr)


def _model(model):
    return json.dumps(model.spec.to_dict(), sort_keys=True, default=repr), model._module.dtype


def _shapes(tree):
    return repr(jax.tree.map(lambda a: (np.shape(a), str(a.dtype)), tree))


def _keep(make, key_of):
    """``make``, or what it made for the same key, at most ``KEPT`` ago."""
    made = {}

    @functools.wraps(make, updated=())
    def kept(*args, **more):
        if _own:
            return make(*args, **more)
        key = (jax.config.jax_enable_x64, *key_of(*args, **more))
        # With the arguments, so that no other object gets the id of one of them.
        made[key] = made.pop(key, None) or (make(*args, **more), args)
        if len(made) > KEPT:
            del made[next(iter(made))]
        return made[key][0]

    return kept


def install():
    """Let the package's own calls come here."""
    setup.check_parts = _keep(
        setup.check_parts,
        # Of what is left out it looks at these.
        lambda c, platform=None: (_text(c, *RUN), *c.best, c.optimizer.frozen, platform),
    )
    optim.build = _keep(optim.build, lambda c, steps, epoch=0: (_text(c), steps, epoch))
    step.lay_out = _keep(
        step.lay_out,
        lambda model, c, optimizer, mesh, tables, steps=1: (
            *_model(model),
            model.kernel,
            _text(c),
            id(optimizer),
            mesh,
            _shapes(tables),
            steps,
        ),
    )
    gene_errors.Measure = _keep(
        gene_errors.Measure,
        lambda model, c, mesh: (*_model(model), model.kernel, _text(c, *RUN), mesh),
    )
    forward.Forward._compiled = _keep(
        forward.Forward._compiled,
        lambda self, dtype: (
            _text(self._config, *RUN, "losses", "train"),
            *(self._layer, dtype, repr(self._pool), self._heads),
        ),
    )
