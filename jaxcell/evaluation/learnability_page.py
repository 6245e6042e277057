"""The text of learnability.md, and the lines for the end of a run."""

from . import learnability as numbers
from .gene_partitions import PROGRAMS, REFERENCE, UNASSIGNED
from .learnability_figures import p_text
from .tables import markdown, number

MOST = 40  # genes of a verdict that are listed; all are in genes.tsv


def page(results):
    """learnability.md, of what ``learnability`` returns."""
    meta = results["meta"]
    parts = ["# Learnability", _summary_table(results)]
    for name, model in results["models"].items():
        parts += [f"## {name}", f"![{name}]({meta['figures'][name]})"]
        if "program" in model:
            parts += [f"Programs, against {REFERENCE['program']}:", _programs(model["program"])]
        parts += [f"Families, against {REFERENCE['family']}:", _families(model["family"])]
        parts += [_listed(model, verdict) for verdict in ("winners", "losers")]
    if results["comparison"]:
        parts += ["## Two models", f"![two models]({meta['figures']['comparison']})"]
        parts += [_comparison(results)]
    if results["curves"]:
        parts += ["## Families over epochs", "Median rescaled MAE.", _curves(results["curves"])]
    parts += ["## Where families and programs come from", _sources(meta)]
    parts += ["## How it was measured", _how(meta)]
    return "\n\n".join(parts) + "\n"


def format_learnability(results):
    """What the models learn as plain text, for the end of a run."""
    lines = []
    for name, model in results["models"].items():
        s = model["summary"]
        lines += [
            f"{name}: {s['reliable']} reliable genes of {s['genes']}, {s['beats_null']:.1%} beat "
            f"the null, median detection AUC {number(s['median_auc'])}; {s['winners']} winners, "
            f"{s['losers']} losers ({s['winners_sparse']} and {s['losers_sparse']} of zero "
            f"fraction above {results['meta']['sparse']:g})"
        ]
        for program, row in model.get("program", {}).get("sparse", {}).items():
            odds = row["odds"]
            said = "" if odds is None else f", {_odds(odds)}, q {p_text(odds['q'])}"
            lines += [f"  {program}: {row['winner_rate']:.1%} of {row['genes']} genes win{said}"]
    if results["comparison"]:
        lines += [_comparison(results)]
    absent = results["meta"]["absent"]
    names = [group for axis in absent.values() for group in axis]
    return "\n".join(
        lines + ([f"left out, without their files: {', '.join(names)}"] if names else [])
    )


def _summary_table(results):
    rows = []
    for name, model in results["models"].items():
        s = model["summary"]
        rows.append([
            name, str(s["reliable"]), str(s["sparse"]), number(s["median_rescaled_mae"]),
            f"{100 * s['beats_null']:.1f}", number(s["median_auc"]), number(s["r2"]),
            number(s["r2_trend"]), f"{s['winners']} ({s['winners_sparse']})",
            f"{s['losers']} ({s['losers_sparse']})",
        ])  # fmt: skip
    header = ["model", "reliable genes", "sparse", "rescaled MAE", "beats null, %", "AUC"]
    header += ["R² of sparsity", "R² of the trend", "winners (sparse)", "losers (sparse)"]
    return markdown(header, rows)


def _odds(odds):
    return f"OR {odds['ratio']:.2f} ({odds['low']:.2f} … {odds['high']:.2f})"


def _tests(row):
    odds, z = row["odds"], row["z_test"]
    return [
        "–" if odds is None else _odds(odds)[3:], "–" if odds is None else p_text(odds["p"]),
        "–" if odds is None else p_text(odds["q"]), number(row["z"]),
        "–" if z is None else p_text(z["q"]),
    ]  # fmt: skip


TESTS = ["odds ratio (95 %)", "p", "q", "median Z", "q of Z"]


def _programs(tables):
    rows = []
    for part in ("sparse", "all"):
        own = tables[part]
        order = [p for p in (*PROGRAMS, UNASSIGNED) if p in own]
        for program in [*order, *(p for p in own if p not in order)]:  # then those of a user's own
            row = own[program]
            cells = [program, part, str(row["genes"]), f"{100 * row['winner_rate']:.1f}"]
            cells += [*_tests(row), f"{100 * row['beats_null']:.1f}", number(row["rescaled_mae"])]
            rows.append(cells)
    header = ["program", "of the genes", "genes", "winners, %", *TESTS]
    return markdown([*header, "beats null, %", "rescaled MAE"], rows)


def _families(tables):
    """All reliable genes; winners, odds and Z of the sparse ones."""
    rows = []
    for family, row in sorted(tables["all"].items(), key=lambda item: item[1]["rescaled_mae"]):
        sparse = tables["sparse"].get(family)
        cells = [family, str(row["genes"]), number(row["zero_fraction"])]
        cells += [number(row["rescaled_mae"]), f"{100 * row['beats_null']:.1f}", number(row["auc"])]
        if sparse is None:
            cells += ["0", *["–"] * 6]
        else:
            cells += [str(sparse["genes"]), f"{100 * sparse['winner_rate']:.1f}", *_tests(sparse)]
        rows.append(cells)
    header = ["family", "genes", "zero fraction", "rescaled MAE", "beats null, %", "AUC"]
    return markdown([*header, "sparse", "winners, %", *TESTS], rows)


def _listed(model, verdict):
    genes = model[verdict]
    if not genes:
        return f"No {verdict}."
    texts = [
        f"{g['gene']} ({number(g['z'])}{'' if g['zero_fraction'] > numbers.SPARSE else ', dense'})"
        for g in genes[:MOST]
    ]
    more = f", and {len(genes) - MOST} more in genes.tsv" if len(genes) > MOST else ""
    return f"{verdict.capitalize()} by |Z|: {', '.join(texts)}{more}."


def _rank(found):
    rho = "–" if found["rho"] is None else f"{number(found['rho'])} (p {p_text(found['p'])})"
    return f"{rho}, n = {found['n']}"


def _overlap(found, a, b):
    fold = "–" if found["fold"] is None else f"{found['fold']:.1f}-fold"
    return (
        f"{found['both']} of {found['a']} ({a}) and {found['b']} ({b}) winners are the same, "
        f"{found['expected']:.1f} expected by chance ({fold}, p {p_text(found['p'])}, "
        f"hypergeometric, of {found['of']})"
    )


def _comparison(results):
    found, (a, b) = results["comparison"], results["models"]
    return "\n".join(
        [
            f"- Among the {found['shared']} genes reliable in both: "
            f"{_overlap(found['winners'], a, b)}.",
            "- As the paper counts, over the reliable genes of the model with more: "
            f"{_overlap(found['winners_paper'], a, b)}.",
            f"- Spearman's ρ of Z: shared winners {_rank(found['z_winners'])}; all shared genes "
            f"{_rank(found['z'])}.",
            "- Spearman's ρ of the families' medians: rescaled MAE "
            f"{_rank(found['families']['rescaled_mae'])}; Z {_rank(found['families']['z'])}.",
        ]
    )


def _curves(curves):
    rows = [
        [family, str(curves["genes"][family]), *(number(v) for v in y)]
        for family, y in curves["medians"].items()
    ]
    return markdown(["family", "genes", *curves["epochs"]], rows)


def _sources(meta):
    lines = []
    for axis, sources in meta["sources"].items():
        lines += [f"- {group}: {source}" for group, source in sources.items()]
        lines += [f"- every other gene: {REFERENCE[axis]}"]
    for axis, groups in meta["absent"].items():
        lines += [
            f"- **left out** ({axis}): {group}, needs {needs}" for group, needs in groups.items()
        ]
    if any(meta["absent"].values()):
        lines += ["- Genes of what is left out are in a later group, or in the reference."]
    return "\n".join(lines)


def _how(meta):
    return (
        f"- Reliable: {meta['min_detected']} non-zero entries or more. Sparse: zero fraction above"
        f" {meta['sparse']:g}; below it few and similar genes are compared, and Z says"
        " little.\n"
        "- Rescaled MAE: mean absolute error of the non-zero entries / their mean (log1p space);"
        " predicting 0 gives 1. The null predicts that mean.\n"
        "- Trend: isotonic regression of the log rescaled MAE over the zero fraction; Z:"
        f" residual / standard deviation in a window of {meta['window']:g} of zero fraction"
        f" ({numbers.FEWEST} nearest genes where these are fewer).\n"
        f"- Winner (loser): Z below −{meta['cut']:g} (above {meta['cut']:g}) and rescaled MAE more"
        f" than {meta['margin']:.0%} below (above) the trend.\n"
        "- Odds ratios: 1/2 added to all counts where one is 0; Woolf's interval; Fisher's exact"
        " test. Z: Mann and Whitney's test. q: Benjamini and Hochberg, over the groups of a"
        " table's part.\n"
        "- Source: BMFM-RNA, section 2.2, supplements 9 and 10."
    )
