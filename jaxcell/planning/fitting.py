"""The largest number of cells that fits, found in few compiles."""

from typing import NamedTuple

COMPILES = 8  # at most, in one search
FINE = 32  # a gap of a 32nd of what fits is small enough


class Trial(NamedTuple):
    """What became of compiling for so many cells a device: bytes are None where nobody said."""

    cells: int
    fits: bool
    bytes: int | None


def largest(attempt, first, fixed, limit, compiles=COMPILES):
    """Search the largest number of cells of one device that fits.

    Memory is nearly linear in the cells: each guess lies on the line through the two nearest
    compiles (at first through what does not grow). A compiler that recomputes more where memory is
    short bends the line, so that guesses that keep failing end in halving.

    Parameters
    ----------
    attempt : cells -> Trial
    first : Trial of the number that was asked for
    fixed : bytes that do not grow with the cells
    limit : bytes of a device
    compiles : at most so many attempts

    Returns
    -------
    fits, fails : the largest Trial that fits and the smallest that does not; None where there is
        none
    """
    trials = [first]
    for number in range(compiles):
        fits, fails = _between(trials)
        low, high = (fits.cells if fits else 0), (fails.cells if fails else None)
        if high is not None and high - low <= max(1, low // FINE):
            break
        guess = _on_the_line(trials, fixed, limit)
        if high is not None and (guess is None or number >= 4):
            guess = (low + high) // 2
        guess = max(guess or 2 * low, low + 1)
        trials.append(attempt(min(guess, high - 1) if high is not None else guess))
    return _between(trials)


def _between(trials):
    fits, fails = ([t for t in trials if t.fits is one] for one in (True, False))
    return max(fits, default=None), min(fails, default=None)


def _on_the_line(trials, fixed, limit):
    """Cells at which the line through two compiles, or one and the origin, meets the limit."""
    points = sorted((abs(t.bytes - limit), t.cells, t.bytes) for t in trials if t.bytes)[:2]
    if not points:
        return None
    if len(points) == 1:
        points.append((0, 0, fixed))
    (_, m, a), (_, n, b) = points
    slope = (a - b) / (m - n) if m != n else 0
    return int(m + (limit - a) / slope) if slope > 0 else None
