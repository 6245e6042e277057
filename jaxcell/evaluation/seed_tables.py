"""Tables of runs over seeds: mean ± standard deviation, or the best seed; best of a column marked.

A row is (label, [{metric: float or None} of each seed]).
"""

import numpy as np

from .tables import markdown, number


def mean(values):
    """Mean of the seeds, None where one of them has no value."""
    return None if not values or None in values else float(np.mean(values))


def best(values):
    """The highest of the seeds' values; None where there is none."""
    known = [v for v in values if v is not None]
    return max(known) if known else None


def mean_sd(values):
    """(mean, sd), sd None where there is one value or all are equal; None where one is None."""
    if any(value is None for value in values):
        return None
    mean = float(np.mean(values))
    return mean, float(np.std(values, ddof=1)) if len(set(values)) > 1 else None


def texts(rows, columns, reduce=mean, marked=None, mark="{}*"):
    """The rows as texts: [[label, text of each column], …].

    Parameters
    ----------
    rows : see above
    columns : {metric: header}
    reduce : `mean`, shown with ± the standard deviation over two seeds or more, or `best`
    marked : metrics whose highest is the best; None: all
    mark : how the highest of a column, as printed, is shown
    """
    table = [[label] for label, _ in rows]
    for metric in columns:
        values = [[run[metric] for run in runs] for _, runs in rows]
        shown = [number(reduce(seeds)) for seeds in values]
        top = max((reduce(s) for s in values if reduce(s) is not None), default=None)
        for row, seeds, text in zip(table, values, shown, strict=True):
            spread = ""
            if reduce is mean and len(seeds) > 1 and None not in seeds:
                spread = f" ± {number(float(np.std(seeds, ddof=1)))}"
            known = top is not None and (marked is None or metric in marked)
            is_top = known and text == number(top)
            row.append((mark.format(text) if is_top else text) + spread)
    return table


def markdown_table(title, rows, columns, reduce=mean, marked=None):
    """The rows as Markdown, the best of each column in bold."""
    return markdown([title, *columns.values()], texts(rows, columns, reduce, marked, "**{}**"))


def plain_table(title, rows, columns, reduce=mean, marked=None):
    """The rows as lines of text, the best of each column with a star."""
    lines = [[title, *columns.values()], *texts(rows, columns, reduce, marked)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn = ["  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) for row in lines]
    drawn = [line.rstrip() for line in drawn]
    return "\n".join([drawn[0], "─" * max(map(len, drawn)), *drawn[1:]])


def runs_of(results, name, part):
    """What an arm's runs that did not fail hold under ``part``."""
    return [run[part] for run in results["arms"][name]["runs"] if "failed" not in run]


def gathered(results):
    """{method's name: its parts, one per seed}, in the order of the plan; 'cells' is no method."""
    found = {}
    for key, part in results["parts"].items():
        if key != "cells":
            found.setdefault(part["name"], []).append(part)
    return found
