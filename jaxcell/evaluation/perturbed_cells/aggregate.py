"""From the metrics of each seed and post-processing to one row of the table per method.

Source: TxFM, B.1.1: metrics are averaged over seeds, a task is the mean of its metrics, the
post-processing of the best average is taken for each task and method, and the row's average is that
of its tasks. The choice is made on the values that are reported, as in the paper.
"""

import numpy as np

from .tasks import TASKS

SAME = 1e-9  # values of seeds that differ by no more are one


def task_scores(metrics):
    """A task's mean over its metrics: {metric: float or None} -> {task: float or None}.

    Metrics that the data do not define (top-5 of five perturbations) are left out.
    """
    found = {}
    for task, names in TASKS.items():
        values = [metrics[name] for name in names if metrics[name] is not None]
        found[task] = float(np.mean(values)) if values else None
    return found


def row(seeds):
    """One method's row.

    Parameters
    ----------
    seeds : list of {post-processing: {metric: float or None}}, one for each seed

    Returns
    -------
    dict
        {task: {'mean', 'sd' (None of one seed, or where all seeds have one value), 'kind': the
        chosen post-processing, 'metrics': {metric: mean}}, or None where the data do not define
        it; 'avg': {'mean', 'sd'}}; the sd of avg is that of the seeds' averages
    """
    scores = [{kind: task_scores(m) for kind, m in one.items()} for one in seeds]
    found, chosen = {}, []
    for task, names in TASKS.items():
        tried = {kind: [one[kind][task] for one in scores] for kind in scores[0]}
        tried = {kind: values for kind, values in tried.items() if None not in values}
        if not tried:
            found[task] = None
            continue
        kind = max(tried, key=lambda kind: np.mean(tried[kind]))  # of equals the first
        metrics = {name: _mean([one[kind][name] for one in seeds]) for name in names}
        found[task] = {**_spread(tried[kind]), "kind": kind, "metrics": metrics}
        chosen.append(tried[kind])
    found["avg"] = _spread(np.mean(chosen, axis=0)) if chosen else None
    return found


def _mean(values):
    return None if None in values else float(np.mean(values))


def _spread(values):
    """Mean and sd; no sd where nothing was drawn, but for the rounding of sums in parallel."""
    sd = float(np.std(values, ddof=1)) if np.ptp(values) > SAME else None
    return {"mean": float(np.mean(values)), "sd": sd}


def over_data(rows):
    """The average over data sets: [row(…), …] of one method -> {'mean', 'sd': None} or None."""
    values = [one["avg"]["mean"] for one in rows if one["avg"]]
    return {"mean": float(np.mean(values)), "sd": None} if values else None
