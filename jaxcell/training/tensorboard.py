"""The journal's numbers for TensorBoard as well: ``tensorboard --logdir WORKDIR/tensorboard``."""

from pathlib import Path


def check():
    """Raise ImportError naming the extra when what writes event files is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise ImportError(
            "config.train.tensorboard needs tensorboardX, not installed: "
            "pip install 'jaxcell[tensorboard]'"
        ) from None


class TensorBoard:
    """A writer of the journal: event files in ``WORKDIR/tensorboard``, one a session.

    TensorBoard drops what an earlier session wrote behind ``start``, as the journal does.
    """

    def __init__(self, workdir, start):
        from tensorboardX import SummaryWriter

        folder = str(Path(workdir) / "tensorboard")
        # Files are named by the second: the suffix keeps two sessions of one second apart.
        suffix = f".{start}"
        self._writer = SummaryWriter(
            folder, purge_step=start + 1, filename_suffix=suffix, flush_secs=10
        )

    def write(self, step, values):
        """Write {name: number} of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self):
        """Write what is still held, and close the file."""
        self._writer.close()
