"""What Orbax prints of a save that fails, beside the error that it raises: not shown.

A full disk is one line to the user (see `jaxcell.writing`), not that line under forty tracebacks of
threads that met with it too. Nor its warning of a step that was not validated, which is no fault.
"""

import functools
import logging
import sys
import traceback


@functools.cache
def hush():
    """From here on, in this process."""
    for logger in ("absl", "asyncio"):
        logging.getLogger(logger).addFilter(_is_not_raised_too)
    shown = sys.unraisablehook

    def hook(found):
        # Orbax closes its event loop at the first failure, before TensorStore has told it of the
        # other writes.
        if not (isinstance(found.exc_value, RuntimeError) and "loop is closed" in str(found)):
            shown(found)

    sys.unraisablehook = hook


def _is_not_raised_too(record):
    # absl tells by the file that logs whose it is, asyncio of a task by its coroutine, and of what
    # a thread did by the traceback alone.
    frames = traceback.extract_tb(record.exc_info[2]) if record.exc_info else ()
    said = record.pathname + record.getMessage() + "".join(one.filename for one in frames)
    fault = record.levelno >= logging.ERROR or "tracked_metric" in said
    return not fault or "orbax" not in said
