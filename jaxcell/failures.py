"""How the command line ends where something is wrong: one line, or with --debug a traceback.

A mistake of the user's is what jaxcell's own code says it is: a ValueError and the like that it
raises. So is what the machine refuses (no space, no permission, no memory) and a missing package.
Anything else is a defect of jaxcell: its line says so, and its traceback is kept in a file, since
what failed after hours is not run again for it.
"""

import contextlib
import dis
import errno
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

RAISE = dis.opmap["RAISE_VARARGS"]
HERE = str(Path(__file__).parent)
NEXT = {
    errno.ENOENT: "is the path right? It is looked up in {cwd}",
    errno.EACCES: "name another place, or change who may read and write there",
    errno.EPERM: "name another place, or change who may read and write there",
    errno.EROFS: "name another place, or make this one writable",
    errno.ENOSPC: "make room, and give the same command again",
    errno.EDQUOT: "make room, and give the same command again",
    errno.EISDIR: "a folder is there, expected a file: name a file in it, or another one",
    errno.ENOTDIR: "a part of this path is a file, expected a folder: name another place",
    errno.EMFILE: "raise the number of open files (`ulimit -n 4096`)",
    errno.ENAMETOOLONG: "name a shorter one",
}
OUT_OF_MEMORY = (
    "out of memory: {}. Fewer cells at a time may fit (--batch-size; of training "
    "--config.train.batch_size, or --config.train.accumulate); `jaxcell doctor` shows what is "
    "free, `jaxcell plan --config FILE` what a config takes"
)


class WrongFlag(ValueError):
    """What is wrong with the command line itself: exit status 2."""


def debug(argv):
    """Whether --debug is among the arguments, or JAXCELL_DEBUG is set, and argv without it."""
    end = argv.index("--") if "--" in argv else len(argv)
    rest = [text for text in argv[:end] if text != "--debug"] + argv[end:]
    return len(rest) < len(argv) or os.environ.get("JAXCELL_DEBUG", "0") not in ("", "0"), rest


@contextlib.contextmanager
def in_one_line(debug, whose=lambda: ""):
    """What is raised within ends the program with one line; with ``debug`` it goes its way.

    whose : () -> what stands in front, as 'process 3: '

    Raises
    ------
    SystemExit
        Status 2 for a `WrongFlag`, else 1.
    """
    try:
        yield
    except Exception as error:
        if debug:
            raise
        line = f"error: {whose()}{said(error)}"
        if isinstance(error, WrongFlag):
            print(line, file=sys.stderr)
            sys.exit(2)
        sys.exit(line)


def plain_warnings():
    """Show what jaxcell warns of as one line, without the place in the code."""
    shown = getattr(warnings.showwarning, "shown", warnings.showwarning)  # called twice: no nesting

    def show(message, category, *where, **more):
        if category is UserWarning:
            print(f"warning: {message}", file=sys.stderr)
        else:
            shown(message, category, *where, **more)

    show.shown = shown
    warnings.showwarning = show


def said(error):
    """What is wrong and what to do next, in a line."""
    if isinstance(error, OSError) and error.errno is not None and not _own(error):
        return _of_system(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        # str of numpy's says how much; XLA's goes on with a table of buffers.
        return OUT_OF_MEMORY.format(str(error).strip().splitlines()[0] if str(error) else "no more")
    if isinstance(error, ImportError):
        more = "" if _own(error) else "; install it; `jaxcell doctor` shows which extra brings what"
        return f"{error}{more}"
    if isinstance(error, OSError | FloatingPointError):  # also numpy's: it is the numbers' fault
        return str(error)
    if isinstance(error, ValueError) and _own(error):
        return str(error)
    return _defect(error)


def _own(error):
    """Whether a ``raise`` of this package raised it, and no library, nor Python itself."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:  # never raised: made to be shown
        return True
    code = trace.tb_frame.f_code
    return code.co_filename.startswith(HERE) and code.co_code[trace.tb_lasti] == RAISE


def _of_system(error):
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = f"{error.strerror or error}".removesuffix(".")
    next_ = NEXT.get(error.errno, "").format(cwd=Path.cwd())
    return f"{' → '.join(files)}{': ' * bool(files)}{what}{'; ' * bool(next_)}{next_}"


def _defect(error):
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(HERE)] or frames
    where = own and f" ({Path(own[-1].filename).name}, line {own[-1].lineno})"
    text = " ".join(str(error).split())
    return (
        f"{type(error).__name__}: {text[:200]}{where or ''}. This is a defect of jaxcell, or input "
        f"that it should have refused with a reason: please report it with {_kept(error)}"
    )


def _kept(error):
    """Where the traceback is, in words."""
    text = f"{' '.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="jaxcell-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return "the traceback, which --debug shows"
    return f"the traceback in {file.name}, which --debug shows too"
