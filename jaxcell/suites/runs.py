"""Training inside a benchmark: who asks it to stop asks the benchmark."""

from jaxcell.training import loop


def train(c, workdir):
    """Train, or go on with, a run: `loop.train`.

    Raises
    ------
    KeyboardInterrupt
        It was asked to stop, and has saved; the same call goes on. As an interrupt anywhere else.
    FloatingPointError, ValueError
        As `loop.train`.
    """
    if not loop.train(c, workdir):
        raise KeyboardInterrupt(f"{workdir}: stopped before the end; the same call goes on")
