"""BioFormers' Tables 2–4: bins predicted at masked genes, beside a linear regression."""

from .ablation_table import DEFAULT, failures, millions
from .seed_tables import markdown_table, plain_table, runs_of
from .tables import markdown

COLUMNS = {"sensitivity": "Sensitivity", "hel_sensitivity": "HEL Sensitivity", "npv_50": "NPV-50"}
ONES = {
    "one_as_one": "Prediction = 1",
    "one_as_zero": "Prediction = 0",
    "one_as_more": "Prediction > 1",
}


def finish(results):
    """Nothing is missing."""


def tables(results):
    """[(title, rows, columns, those of which the highest is best)] of Tables 2, 3 and 4."""
    masks, data = (block["arms"] for block in results["blocks"])
    k, scaled = results["meta"]["neighbours"], "normalised"
    regression = [(f"Linear regression (k = {k})", _of(results, DEFAULT, "regression"))]
    if scaled in results["arms"]:
        regression.append(("the same, normalised bins", _of(results, scaled, "regression")))
    arms = [(label, _of(results, name)) for label, name in masks]
    found = [
        ("Table 2: masks that were trained with", [*regression, *arms], COLUMNS, COLUMNS),
        ("Table 3: what becomes of a true 1", [*regression, *arms], ONES, ("one_as_one",)),
    ]
    other = [
        row
        for label, name in data
        for row in (
            (f"{label}, {_cells(results, name)}", _of(results, name)),
            (f"Linear regression, {_cells(results, name)}", _of(results, name, "regression")),
        )
    ]
    if len(results["arms"]) > 1 and any(n in results["arms"] for _, n in data if n != DEFAULT):
        found.append(("Table 4: the same model on other data", other, COLUMNS, COLUMNS))
    return [(title, [row for row in rows if row[1]], *more) for title, rows, *more in found]


def _of(results, name, part="scores"):
    if name not in results["arms"]:
        return []
    runs = runs_of(results, name, part)
    # Of a regression all seeds are the same.
    return runs[:1] if part == "regression" else runs


def _cells(results, name):
    meta = results["meta"]
    which = "" if name == DEFAULT else "other"
    return f"{', '.join(meta['files'][which])} ({meta['cells'][which]['train']} training cells)"


def how(results):
    """What the numbers are, in a few sentences."""
    meta, mask = results["meta"], results["meta"]["mask"]
    runs = runs_of(results, DEFAULT, "scores")
    n = runs[0]["n_entries"] if runs else 0
    return (
        f"Held-out cells ({meta['cells']['']['valid']}, 10 %), {meta['genes']['']} HVGs, value"
        f" binning. Every arm is measured on the same masks, m = {mask['ratio']}, p ="
        f" {mask['nonzero']} ({n:,} entries, {mask['draws']} draws of each cell), whatever it was"
        " trained with; the paper does not say. Bins of the normalised arm are those of"
        " normalised counts, so its truth is another. The regression sees the true values of all"
        " other genes, the masked ones too. A model's step is the one of the least loss on these"
        " same cells; the regression has no such choice."
        f" {meta['steps']} steps of {meta['batch_size']} cells, {meta['seeds']} seed"
        f"{'s: mean ± standard deviation' if meta['seeds'] > 1 else ''}."
    )


def text(results):
    """The tables as plain text, for the end of a run."""
    drawn = [plain_table(*one[:3], marked=one[3]) for one in tables(results)]
    return "\n\n".join([*drawn, how(results) + " * best"])


def page(results):
    """report.md."""
    meta = results["meta"]
    parts = [f"# Ablation `{meta['suite']}`, budget {meta['budget']}"]
    for title, rows, columns, marked in tables(results):
        parts.append(markdown_table(title, rows, columns, marked=marked))
    parts.append(how(results) + " The best of each column in bold.")
    rows = [
        [name, millions(a["parameters"]), f"{a['steps']}", f"{_seconds(a):.0f}"]
        for name, a in results["arms"].items()
    ]
    parts += failures(results)
    parts += ["## Arms", markdown(["arm", "parameters", "steps", "seconds"], rows)]
    return "\n\n".join(parts) + "\n"


def _seconds(arm):
    return sum(run["seconds"] for run in arm["runs"])
