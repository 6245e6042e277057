"""Are the genes of a family or program predicted well; do two models agree on which?

Source: BMFM-RNA, supplement 10. What it does not print and what is done here:

- Odds ratio of being a winner: a d / (b c) of the 2 × 2 table of a group and the reference
  (Unclassified, unassigned), with 1/2 added to all four where one is 0 (Haldane, Anscombe); 95 %
  interval by its logarithm's normal error (Woolf). Its p is Fisher's exact test, two-sided.
- Z against the reference: Mann and Whitney's test, two-sided.
- q: Benjamini and Hochberg's correction over the groups of an axis, for each test of its own.
- All of it over all reliable genes, and over the sparse ones (zero fraction > .5) alone.
"""

import math

import numpy as np
from scipy import stats

from .learnability import median

ENOUGH = 5  # genes of a group, for it to be ranked or drawn


def odds_ratio(won, of, won_rest, of_rest):
    """Odds of winning in a group over those in the rest: {'ratio', 'low', 'high', 'p'}.

    won of `of` genes, won_rest of `of_rest`; None where either has no gene.
    """
    if not of or not of_rest:
        return None
    counts = np.array([[won, of - won], [won_rest, of_rest - won_rest]])
    p = float(stats.fisher_exact(counts).pvalue)
    shifted = counts + (0.5 if (counts == 0).any() else 0)
    (a, b), (c, d) = shifted
    middle, error = math.log(a * d / (b * c)), 1.96 * math.sqrt((1 / shifted).sum())
    low, high = math.exp(middle - error), math.exp(middle + error)
    return {"ratio": math.exp(middle), "low": low, "high": high, "p": p}


def group_table(genes, labels, reference):
    """Statistics of each group of reliable genes.

    Parameters
    ----------
    genes : DataFrame of `learnability.score`
    labels : Series of str by gene id
    reference : the group that the others are set against

    Returns
    -------
    {'all' | 'sparse': {group: row}}, a row with genes, winners, losers (numbers); zero_fraction,
    rescaled_mae, auc, z (medians); quartiles of rescaled_mae; beats_null, winner_rate (shares);
    odds (`odds_ratio` and 'q') and z_test {'p', 'q'}, None for the reference and without one
    """
    own = genes[genes["reliable"]]
    return {
        "all": _groups(own, labels, reference),
        "sparse": _groups(own[own["sparse"]], labels, reference),
    }


def _groups(own, labels, reference):
    names = labels.loc[own.index].to_numpy()
    rest = own[names == reference]
    won_rest = int((rest["verdict"] == "winner").sum())
    found = {}
    for name in sorted(set(names.tolist())):
        group = own[names == name]
        won = int((group["verdict"] == "winner").sum())
        found[name] = {
            "genes": len(group),
            "zero_fraction": median(group["zero_fraction"]),
            "rescaled_mae": median(group["rescaled_mae"]),
            "quartiles": np.quantile(group["rescaled_mae"], [0.25, 0.75]).tolist(),
            "auc": median(group["auc"]),
            "z": median(group["z"]),
            "beats_null": float(group["beats_null"].mean()),
            "winners": won,
            "winner_rate": won / len(group),
            "losers": int((group["verdict"] == "loser").sum()),
            "odds": None,
            "z_test": None,
        }
        if name != reference and len(rest):
            counts = (won, len(group), won_rest, len(rest))
            found[name]["odds"] = odds_ratio(*counts)
            test = stats.mannwhitneyu(group["z"], rest["z"])
            found[name]["z_test"] = {"p": float(test.pvalue)}
    for test in ("odds", "z_test"):
        tested = [row[test] for row in found.values() if row[test]]
        for row, q in zip(tested, adjusted([row["p"] for row in tested]), strict=True):
            row["q"] = q
    return found


def adjusted(p):
    """Benjamini and Hochberg's adjusted p-values, in the order given."""
    return [float(q) for q in stats.false_discovery_control(p, method="bh")] if p else []


def overlap(both, a, b, of):
    """Is it chance that ``both`` of ``a`` and ``b`` genes, drawn from ``of``, are the same?

    Returns
    -------
    {'both', 'a', 'b', 'of', 'expected', 'fold' (None where 0 are expected), 'p' (of as many or
    more, hypergeometric)}
    """
    if not (0 <= both <= min(a, b) and max(a, b) <= of):
        raise ValueError(f"overlap: found {both} of {a} and {b} among {of}")
    expected = a * b / of if of else 0.0
    return {
        "both": both, "a": a, "b": b, "of": of, "expected": expected,
        "fold": both / expected if expected else None,
        "p": float(stats.hypergeom.sf(both - 1, of, a, b)),
    }  # fmt: skip


def rank_correlation(x, y):
    """Spearman's: {'n', 'rho', 'p'}; rho and p are None for fewer than 3, or where one is level."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"n": len(x), "rho": None, "p": None}
    found = stats.spearmanr(x, y)
    return {"n": len(x), "rho": float(found.statistic), "p": float(found.pvalue)}


def compare(a, b, families):
    """Do two models agree? Winners, Z of the winners that they share, medians of families.

    Parameters
    ----------
    a, b : DataFrames of `learnability.score`, by the same kind of gene id
    families : (`group_table` of a, that of b)

    Returns
    -------
    dict: ``shared`` (genes reliable in both); ``winners``, an `overlap` among these;
    ``winners_paper``, as the paper counts it: all winners, set against the reliable genes of the
    model that has more of them; ``z_winners`` and ``z``, rank correlations of Z over shared
    winners and over all shared genes; ``families`` {'rescaled_mae', 'z'}, those of the families'
    medians

    Raises
    ------
    ValueError
        No gene is reliable in both.
    """
    shared = a.index[a["reliable"]].intersection(b.index[b["reliable"]])
    if not len(shared):
        raise ValueError(
            "no gene is reliable in both tables; expected the same genes, by Ensembl id or symbol"
        )
    won_a, won_b = (x.index[x["verdict"] == "winner"] for x in (a, b))
    both = won_a.intersection(won_b)
    more = max(int(a["reliable"].sum()), int(b["reliable"].sum()))
    near = [len(shared.intersection(won)) for won in (won_a, won_b)]
    return {
        "shared": len(shared),
        "winners": overlap(len(both), *near, len(shared)),
        "winners_paper": overlap(len(both), len(won_a), len(won_b), more),
        "z_winners": rank_correlation(a.loc[both, "z"], b.loc[both, "z"]),
        "z": rank_correlation(a.loc[shared, "z"], b.loc[shared, "z"]),
        "families": family_ranks(*families),
    }


def family_ranks(a, b):
    """Rank correlation of the families' medians over all genes, of families with `ENOUGH` genes."""
    a, b = a["all"], b["all"]
    names = [n for n in a if n in b and min(a[n]["genes"], b[n]["genes"]) >= ENOUGH]
    return {
        key: rank_correlation([a[n][key] for n in names], [b[n][key] for n in names])
        for key in ("rescaled_mae", "z")
    }
