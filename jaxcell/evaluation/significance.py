"""Is an arm of an ablation different from the default? Source: TxFM, appendix C.

Proportions: two-proportion z-test. Recalls: two-tailed t-test. Then Benjamini and Hochberg's
correction over the arms, within each metric.
"""

import math

import numpy as np
from scipy import stats


def two_proportions(found_a, of_a, found_b, of_b):
    """P of the two-sided z-test, pooled, that two proportions are equal.

    Two proportions that are both 0 or both 1 have no spread: p = 1.
    """
    if not (0 <= found_a <= of_a and 0 <= found_b <= of_b and of_a and of_b):
        raise ValueError(f"proportions: found {found_a} of {of_a} and {found_b} of {of_b}")
    pooled = (found_a + found_b) / (of_a + of_b)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / of_a + 1 / of_b))
    if spread == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(found_a / of_a - found_b / of_b) / spread))


def t_test(a, b):
    """P of the two-tailed t-test (equal variances) that two samples have one mean.

    a, b : values by training seed, two or more each
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if np.ptp(a) == 0 and np.ptp(b) == 0:  # no spread within: scipy would warn and say nan or 0
        return 1.0 if a[0] == b[0] else 0.0
    return float(stats.ttest_ind(a, b).pvalue)


def paired_draws(a, b, draws_a, draws_b, size):
    """P of the two-tailed t-test that two recalls of the *same* pairs are equal, from one run each.

    The standard error is that of the difference over a bootstrap in which both saw the same draws,
    so it does not shrink with the number of draws.

    a, b : the recalls; draws_a, draws_b [resamples]; size : what was drawn (genes)
    """
    spread = float(np.std(np.asarray(draws_a) - np.asarray(draws_b), ddof=1))
    if spread == 0:
        return 1.0 if a == b else 0.0
    return float(2 * stats.t.sf(abs(a - b) / spread, size - 1))


def stars(p, rate=0.05):
    """Which arms differ, at a false discovery rate: {arm: p} -> {arm: bool}.

    Benjamini and Hochberg 1995, over all arms given: those of one metric.
    """
    if not p:
        return {}
    adjusted = stats.false_discovery_control(list(p.values()), method="bh")
    return {arm: bool(q <= rate) for arm, q in zip(p, adjusted, strict=True)}
