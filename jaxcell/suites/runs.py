"""Training inside a benchmark: who asks it to stop asks the benchmark."""

from jaxcell.training import loop
from jaxcell.training.stop import Stopped


def train(c, workdir):
    """Train, or go on with, a run: `loop.train`.

    Raises
    ------
    Stopped
        It was asked to stop, and has saved; a KeyboardInterrupt, as an interrupt anywhere else.
    FloatingPointError, ValueError
        As `loop.train`.
    """
    if not loop.train(c, workdir):
        raise Stopped(f"{workdir}: stopped before the end")
