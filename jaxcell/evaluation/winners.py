"""Who is ahead by a score, models or baselines, in a sentence."""

from .html import shown, value_of


def winner(rows, key, header, *, digits=3):
    """The best model beside the best baseline; says so where the baseline wins.

    Parameters
    ----------
    rows : list of dict
        Of an `html.Table`, each with 'kind': 'model', 'baseline' or 'reference' (never the best).
    key : str
        Of the score; more is better.
    header : str
        What the score is called.
    digits : int

    Returns
    -------
    str
        '' where no row has the score.
    """
    best = {}
    for kind in ("model", "baseline"):
        rated = [row for row in rows if row["kind"] == kind and value_of(row.get(key)) is not None]
        if rated:
            top = max(rated, key=lambda row: value_of(row[key]))
            value = value_of(top[key])
            best[kind] = (value, (top["name"], shown(value, digits)))
    if not best:
        return ""
    if len(best) == 1:
        [(kind, (_, named))] = best.items()
        return f"{header}: the best {kind} is {' '.join(named)}."
    (model, ours), (baseline, theirs) = best["model"], best["baseline"]
    ours, theirs = (f"{name} {value}" for name, value in (ours, theirs))
    if shown(model, digits) == shown(baseline, digits):
        return f"{header}: **a baseline is level** with the best model: {theirs}; {ours}."
    if baseline > model:
        return f"{header}: **a baseline wins**, {theirs}; the best model is {ours}."
    return f"{header}: the best model is ahead, {ours}; the best baseline is {theirs}."
