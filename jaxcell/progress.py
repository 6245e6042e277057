"""How far long work is: a bar in a terminal or a notebook, else one plain line a minute.

A log of SLURM, of CI or of a pipe gets no carriage returns, and nothing of work that takes less
than a minute. Of many processes the first alone shows anything.
"""

import importlib.util
import sys
import time

from tqdm import tqdm

MINUTE = 60  # seconds between two lines


def bar(total, what, unit="step", *, done=0, shown=True, leave=True, stream=None, clock=None):
    """What shows the progress of some work; to be used in a ``with``, or closed.

    Parameters
    ----------
    total : how many there are
    what : a word or two, before the numbers
    unit : what is counted, singular; 'B' for bytes
    done : how many were done before this call
    shown : False: it shows nothing
    leave : whether a bar stays when it is closed; False for work within other work
    stream : where to, stderr by default; clock : seconds, ``time.monotonic`` by default

    Returns
    -------
    Bar or Lines, which have the same methods
    """
    stream = sys.stderr if stream is None else stream
    if not (shown and _first()):
        return Lines(total, what, unit, done, None)
    notebook = _notebook() if stream is sys.stderr else None
    if notebook or stream.isatty():
        return Bar(notebook or tqdm, total, what, unit, done, leave, stream)
    return Lines(total, what, unit, done, stream, clock or time.monotonic)


def each(items, what, unit="step", shown=True):
    """Yield the items of a sequence, showing how many are done."""
    with bar(len(items), what, unit, shown=shown) as shown:
        for item in items:
            yield item
            shown.update()


def _first():
    """Whether this process shows anything: only by jaxcell.processes can it be one of many."""
    processes = sys.modules.get("jaxcell.processes")
    return processes is None or processes.first()


def _notebook():
    """Tqdm's bar for notebooks inside of one that has widgets, else None."""
    shell = "IPython" in sys.modules and sys.modules["IPython"].get_ipython()
    # Without widgets tqdm warns, and draws a bar that stays in the page once for each change.
    if shell and "IPKernelApp" in shell.config and importlib.util.find_spec("ipywidgets"):
        from tqdm.auto import tqdm as made

        return made
    return None


class _Counted:
    """What `Bar` and `Lines` have in common."""

    def shared(self, passes):
        """An ``update`` for work that goes over everything so many times."""
        left = 0

        def update(n=1):
            nonlocal left
            whole, left = divmod(left + n, passes)
            self.update(whole)

        return update

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Bar(_Counted):
    """A bar of tqdm's."""

    def __init__(self, kind, total, what, unit, done, leave, stream):
        scale = {"unit_scale": True, "unit_divisor": 1024 if unit == "B" else 1000}
        self._bar = kind(
            total=total, desc=what, unit=unit, initial=done, leave=leave, file=stream,
            dynamic_ncols=True, mininterval=0.5, **(scale if unit in ("B", "cell") else {}),
        )  # fmt: skip

    def update(self, n=1):
        """So many more are done."""
        self._bar.update(n)

    def skip(self, n=1):
        """So many more were done before; they count for no rate."""
        self._bar.initial += n
        self._bar.n += n
        self._bar.refresh()

    def note(self, text):
        """Put a text behind the numbers."""
        self._bar.set_postfix_str(text, refresh=False)

    def say(self, text):
        """Print a line above the bar."""
        self._bar.write(text)

    def close(self):
        """End the bar."""
        self._bar.close()


class Lines(_Counted):
    """A line a minute, and one at the end where there was any; none without a stream."""

    def __init__(self, total, what, unit, done, stream, clock=time.monotonic):
        self._total, self._what, self._unit, self._done = total, what, unit, done
        self._stream, self._clock, self._note, self._line = stream, clock, "", ""
        self._said, self._start = clock(), done
        # The rate counts from the first update on: what comes before is compiling and opening.
        self._began = None

    def update(self, n=1):
        """So many more are done."""
        self._done += n
        if self._stream is None:
            return
        now = self._clock()
        if now - self._said >= MINUTE:
            self._write(now)
        if self._began is None:
            self._began, self._start = now, self._done

    def skip(self, n=1):
        """So many more were done before; they count for no rate."""
        self._done += n
        self._start += n

    def note(self, text):
        """Put a text behind the numbers."""
        self._note = text

    def say(self, text):
        """Print a line at once, in the order of a log that takes both streams."""
        print(text, flush=True)

    def close(self):
        """Say how it ended, where lines were written and the last one does not."""
        if self._line:
            self._write(self._clock())
            self._line = ""

    def _write(self, now):
        before, self._line, self._said = self._line, self._text(now), now
        if self._line != before:
            self._stream.write(self._line + "\n")
            self._stream.flush()

    def _text(self, now):
        parts = [f"{self._what}: {self._count()}"]
        done, seconds = self._done - self._start, now - (self._began or now)
        if done > 0 and seconds > 0:
            parts.append(_rate(done / seconds, self._unit))
            if self._done < self._total:
                parts.append(f"{duration((self._total - self._done) * seconds / done)} left")
        return ", ".join(parts) + (f"; {self._note}" if self._note else "")

    def _count(self):
        share = f" ({self._done / self._total:.0%})" if self._total else ""
        if self._unit == "B":
            done, total = (tqdm.format_sizeof(n, "B", 1024) for n in (self._done, self._total))
            return f"{done} of {total}{share}"
        return f"{self._done:,} of {self._total:,} {plural(self._unit)}{share}"


def plural(unit):
    """'cells', 'batches' …"""
    return f"{unit}es" if unit.endswith(("ch", "s", "x")) else f"{unit}s"


def _rate(each_second, unit):
    if unit == "B":
        return tqdm.format_sizeof(each_second, "B", 1024) + "/s"
    if each_second < 1:
        return f"{1 / each_second:.1f} s/{unit}"
    return f"{each_second:,.{1 if each_second < 100 else 0}f} {plural(unit)}/s"


def duration(seconds):
    """'45 s', '12 min', '3 h 05 min', '2 d 4 h': time as people say it."""
    seconds = round(seconds)
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{hours // 24} d {hours % 24} h"
