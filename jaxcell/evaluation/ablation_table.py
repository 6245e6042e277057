"""The table of an ablation, as the paper prints its Table 5: blocks of arms, stars against default.

An arm's entry: {'runs': [one dict per seed]}; a run: {'perts': {'consistent', 'scored'},
'enc' and 'dec': {'recall', 'draws', 'n', 'sd'}}, or {'failed': why}.
"""

import numpy as np

from .significance import paired_draws, stars, t_test, two_proportions
from .tables import markdown

METRICS = ("perts", "enc", "dec")
DEFAULT = "default"  # the name of the arm that the others are compared with


def values(arm, metric):
    """A metric of an arm's runs that did not fail, list of float."""
    runs = [run for run in arm["runs"] if "failed" not in run]
    if metric == "perts":
        return [run["perts"]["consistent"] / run["perts"]["scored"] for run in runs]
    return [run[metric]["recall"] for run in runs]


def p_value(default, arm, metric, genes):
    """P that an arm equals the default in a metric; None where one of them has no run.

    Consistency: counts over all seeds. Recall: over seeds where both have two or more, otherwise by
    the bootstrap over genes of their first runs.
    """
    a, b = values(default, metric), values(arm, metric)
    if not a or not b:
        return None
    runs = [[r for r in one["runs"] if "failed" not in r] for one in (default, arm)]
    if metric == "perts":
        counts = [
            [sum(r["perts"][k] for r in one) for k in ("consistent", "scored")] for one in runs
        ]
        return two_proportions(*counts[0], *counts[1])
    if min(len(a), len(b)) > 1:
        return t_test(a, b)
    draws = [one[0][metric]["draws"] for one in runs]
    return paired_draws(a[0], b[0], *draws, genes)


def verdicts(arms, genes, rate=0.05):
    """{metric: {arm: {'p', 'differs'}}} of all arms but the default (appendix C)."""
    found = {}
    for metric in METRICS:
        p = {
            name: p_value(arms[DEFAULT], arm, metric, genes)
            for name, arm in arms.items()
            if name != DEFAULT
        }
        p = {name: value for name, value in p.items() if value is not None}
        differs = stars(p, rate)
        found[metric] = {name: {"p": p[name], "differs": differs[name]} for name in p}
    return found


def finish(results):
    """Add the verdicts to an ablation's results; the bootstrap's draws, which they took, go."""
    runs = [r for arm in results["arms"].values() for r in arm["runs"] if "failed" not in r]
    meta = results["meta"]
    meta["scored"] = runs[0]["perts"]["scored"] if runs else 0
    results["verdicts"] = verdicts(results["arms"], meta["genes"])
    for run in runs:
        for metric in ("enc", "dec"):
            run[metric].pop("draws")


def _cell(results, name, metric, star):
    found = values(results["arms"][name], metric)
    if not found:
        return "–"
    mean = f"{100 * np.mean(found):.1f}"
    differs = results["verdicts"][metric].get(name, {"differs": False})["differs"]
    return mean + (star if differs else "")


def blocks(results, star="*"):
    """[(title, [[label, perts, enc, dec], …]), …] with a star where an arm differs from default."""
    arms = results["arms"]
    return [
        (
            block["title"],
            [
                [label, *(_cell(results, name, metric, star) for metric in METRICS)]
                for label, name in block["arms"]
                if name in arms
            ],
        )
        for block in results["blocks"]
        if any(name in arms and name != DEFAULT for _, name in block["arms"])
    ]


def text(results):
    """All blocks as plain text, for the end of a run."""
    shown = blocks(results)
    left = max((len(row[0]) for title, rows in shown for row in [[title], *rows]), default=0)
    lines = []
    for title, rows in shown:
        lines += [title.ljust(left) + "".join(m.rjust(8) for m in METRICS)]
        lines += ["─" * len(lines[-1])]
        for label, *cells in rows:
            # The star hangs to the right of the column, as in the paper.
            cells = [t.rjust(8) if t.endswith("*") else t.rjust(7) + " " for t in cells]
            lines.append((label.ljust(left) + "".join(cells)).rstrip())
        lines.append("")
    return "\n".join([*lines, *(f"{n}: {t}" for n, t in _beside(results)), how(results)])


def _beside(results):
    """[(name, text)] of what is measured beside the arms."""
    for name, row in results["references"].items():
        yield name, ", ".join(f"{metric} {100 * value:.1f}" for metric, value in row.items())


def how(results):
    """What the numbers are, in a few sentences."""
    meta = results["meta"]
    test = "a t-test over seeds" if meta["seeds"] > 1 else "a bootstrap over genes (one seed)"
    return (
        f"perts: percent of {meta['scored']} perturbations that are consistent (p < {meta['cut']});"
        f" enc, dec: percent of known relations recalled by codebook and decoder after PCA to the"
        f" best size, mean of {len(meta['pairs'])} databases; * differs from the default"
        f" (z-test; {test}; Benjamini-Hochberg .05 within each column). {meta['steps']} steps of"
        f" {meta['batch_size']} cells in every arm, {meta['seeds']} seed"
        f"{'s' if meta['seeds'] > 1 else ''}, {meta['genes']} genes."
    )


def _arm(results, name):
    """An arm's row in the table of p values, losses and times."""
    runs = results["arms"][name]["runs"]
    p = [results["verdicts"][metric].get(name) for metric in METRICS]
    losses = [run["val_loss"] for run in runs if "val_loss" in run]
    return [
        name,
        millions(results["arms"][name]["parameters"]),
        *("–" if one is None else f"{one['p']:.2g}" for one in p),
        f"{np.mean(losses):.6g}" if losses else "–",
        f"{sum(run['seconds'] for run in runs):.0f}",
    ]


def millions(parameters):
    """1.23M; – of a run without a model."""
    return f"{parameters / 1e6:.2f}M" if parameters else "–"


def failures(results):
    """Parts of report.md that say which arms did not end; [] where all did."""
    failed = [
        f"- {name}, seed {seed}: {run['failed']}"
        for name, arm in results["arms"].items()
        for seed, run in enumerate(arm["runs"])
        if "failed" in run
    ]
    return ["## Arms that did not end", "\n".join(failed)] if failed else []


def page(results):
    """report.md."""
    meta = results["meta"]
    parts = [f"# Ablation `{meta['suite']}`, budget {meta['budget']}"]
    for letter, (title, rows) in zip("abcdefghij", blocks(results, "⋆"), strict=False):
        parts.append(f"**({letter})**\n\n" + markdown([title, *METRICS], rows))
    parts.append(how(results))
    parts.append("\n".join(f"- {name}: {text}" for name, text in _beside(results)))
    parts += failures(results)
    rows = [_arm(results, name) for name in results["arms"]]
    header = ["arm", "parameters", *(f"p ({m})" for m in METRICS), "validation loss", "seconds"]
    parts += ["## Arms", markdown(header, rows), "Losses of different kinds do not compare."]
    parts += [
        "## Data\n\n"
        f"- trained on {meta['cells']} cells of {', '.join(meta['train'])}\n"
        f"- perturbations: {meta['perturbed']}, `{meta['perturbation']}` other than"
        f" {meta['control']!r}, batches by {', '.join(meta['batch'])}"
        + (", each batch scored on its own" if meta["per_batch"] else "")
        + f"\n- relations: {', '.join(f'{n} ({k})' for n, k in meta['pairs'].items())}"
    ]
    return "\n\n".join(parts) + "\n"
