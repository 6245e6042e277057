"""Which kernel computes exact attention on a platform, and why."""

KERNELS = ("xla", "cudnn", "flash")


def choose(c, dtype, platform):
    """The attention kernel of a config on a platform.

    Parameters
    ----------
    c : a settled config; ``c.attention`` names a kernel, or 'auto'
    dtype : of matrix products
    platform : 'cpu', 'gpu' or 'tpu'

    Returns
    -------
    kernel : of ``KERNELS``
    reason : why, for the log
    """
    return "xla", f"on {platform}"
