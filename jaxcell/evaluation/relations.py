"""How many known relations between genes are among the most similar pairs of gene vectors.

V genes, D dimensions, m known pairs of a database. Source: TxFM section 4.2 (Table 4, Fig. 2) after
Celik et al. 2024 (EFAAR).

What the paper does not print, and what is done here:

- *Predicted* are the 5 % most similar of all pairs of genes (``sides='top'``). EFAAR knows that and
  also the 5 % at both ends; there random vectors would recall 10 %, the paper's random vectors
  recall 4.9 %. ``sides='both'`` is the second.
- The thresholds are those of all V (V - 1) / 2 pairs, where EFAAR draws some; so nothing is random
  but the ± : a bootstrap over genes (a pair is drawn as often as both its genes together), with the
  thresholds as they are. Pairs share genes, so a bootstrap over pairs would be too narrow.
"""

import csv
from pathlib import Path

import numpy as np

from jaxcell.data.genes import strip_version
from jaxcell.files import near

COLUMNS = ("entity1", "entity2")
SIDES = ("top", "both")
SIZES = (16, 32, 64, 128, 256, 512, 1024)  # the paper's from 64 on
BINS = 2**20  # of the histogram of cosines: thresholds are within 2e-6, as float32 products are
BLOCK_VALUES = 2**24  # cosines held at a time: 64 MB of float32, a few times over
FEWEST = 20  # known pairs: fewer say nothing (EFAAR asks for as many genes)


def by_name(paths):
    """Files of known pairs by their database, the file's name without its ending: {name: Path}.

    Raises
    ------
    ValueError
        Two files of one name.
    """
    found = {}
    for path in map(Path, paths):
        if path.stem in found:
            raise ValueError(
                f"pairs: {found[path.stem]} and {path} would both be called {path.stem}; "
                "expected names of their own"
            )
        found[path.stem] = path
    return found


def read_pairs(path):
    """Known pairs of a file, each once and in alphabetical order, without pairs of one name.

    A header with the columns entity1 and entity2, comma- or tab-separated (EFAAR's format).

    Returns
    -------
    list of (str, str)

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, other columns, or no pair.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of pairs{near(path)}")
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        header = file.readline()
        columns = [c.strip() for c in header.replace("\t", ",").rstrip("\r\n").split(",")]
        if not set(COLUMNS) <= set(columns):
            raise ValueError(
                f"{path}: found the columns {', '.join(columns[:4])}, expected a header with "
                f"{' and '.join(COLUMNS)}, comma- or tab-separated"
            )
        a, b = (columns.index(name) for name in COLUMNS)
        rows = [r for r in csv.reader(file, delimiter="\t" if "\t" in header else ",") if r]
    short = next((i for i, row in enumerate(rows, 2) if len(row) <= max(a, b)), None)
    if short:
        raise ValueError(f"{path}, line {short}: expected {len(columns)} columns")
    pairs = {tuple(sorted((row[a].strip(), row[b].strip()))) for row in rows}
    pairs = sorted(p for p in pairs if p[0] != p[1] and p[0])
    if not pairs:
        raise ValueError(f"{path}: holds no pair of two names; expected two names a line")
    return pairs


def locate(pairs, symbols, ensembl, where, fewest=FEWEST):
    """The pairs whose genes are both there, as rows of the gene vectors.

    Names are taken as spelled: a symbol, or an Ensembl id with or without its version. A symbol
    that several genes have names none of them.

    Parameters
    ----------
    pairs : list of (str, str)
    symbols, ensembl : sequences of str [V]; '' where unknown
    where : name of the pairs, for the error
    fewest : least number of pairs that must be found

    Returns
    -------
    int [m, 2], i < j, each pair once

    Raises
    ------
    ValueError
        Fewer than ``fewest`` pairs have both genes.
    """
    row = {}
    for i, symbol in enumerate(symbols):
        if symbol:
            row[symbol] = -1 if symbol in row else i
    row |= {e: i for i, e in enumerate(ensembl) if e}
    found = [(row.get(strip_version(n) or n, -1) for n in pair) for pair in pairs]
    found = {tuple(sorted(pair)) for pair in map(tuple, found)}
    found = sorted((i, j) for i, j in found if i >= 0 and i != j)
    if len(found) < fewest:
        folded = {name.casefold() for name in row}
        other = sum(a.casefold() in folded and b.casefold() in folded for a, b in pairs)
        hint = f" ({other} would match if case were ignored: another species?)" if other else ""
        names = ", ".join([n for n in (*symbols, *ensembl) if n][:3])
        raise ValueError(
            f"{where}: {len(found)} of {len(pairs)} pairs have both genes among the vectors, "
            f"expected at least {fewest}{hint}; the pairs name {', '.join(pairs[0])}, the vectors "
            f"{names}"
        )
    return np.array(found, np.int64).reshape(-1, 2)


def centred(vectors, name="vectors"):
    """Gene vectors minus their mean over genes: [V, D] -> float64 [V, D].

    Raises
    ------
    ValueError
        Not a matrix of finite numbers, or all rows are equal.
    """
    x = np.asarray(vectors, np.float64)
    if x.ndim != 2 or len(x) < 3:
        raise ValueError(f"{name}: found shape {x.shape}, expected [genes, dimensions], 3 genes up")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: holds NaN or infinite values")
    x = x - x.mean(axis=0)
    if not x.any():
        raise ValueError(f"{name}: all genes have the same vector")
    return x


def _unit(x):
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(norm > 0, norm, 1.0)).astype(np.float32)


def thresholds(unit, share=0.05, sides="top"):
    """The cosines that bound the predicted pairs, over all pairs of different genes.

    Exact but for 2e-6: a histogram of 2^20 bins, in blocks of bounded memory.

    Parameters
    ----------
    unit : float32 [V, D], rows of length 1
    share : of all pairs, at each end that counts
    sides : 'top' or 'both'

    Returns
    -------
    low, high : pairs at or below ``low``, or at or above ``high``, are predicted (low = -inf for
        'top')
    """
    if sides not in SIDES:
        raise ValueError(f"sides: found {sides!r}, expected {' or '.join(SIDES)}")
    if not 0 < share < 0.5:
        raise ValueError(f"share: found {share}, expected within (0, 0.5)")
    n = len(unit)
    counts = np.zeros(BINS, np.int64)
    step = max(1, BLOCK_VALUES // n)
    for a in range(0, n, step):
        cosines = unit[a : a + step] @ unit[a:].T  # the columns begin with the block's own rows
        height = len(cosines)
        own = cosines[:, :height][np.triu_indices(height, k=1)]
        for part in (own, cosines[:, height:].ravel()):
            part *= BINS / 2
            part += BINS / 2
            counts += np.bincount(np.clip(part, 0, BINS - 1).astype(np.int64), minlength=BINS)
    wanted = share * n * (n - 1) / 2
    up = np.cumsum(counts)
    low = np.searchsorted(up, wanted) + 1  # the upper edge of the bin in which the share is full
    high = BINS - 1 - np.searchsorted(np.cumsum(counts[::-1]), wanted)
    edge = 2.0 / BINS
    return (-np.inf if sides == "top" else low * edge - 1.0), high * edge - 1.0


def predicted(x, known, share=0.05, sides="top"):
    """Which known pairs are predicted: x [V, D] (centred), {database: [m, 2]} -> {…: bool [m]}."""
    unit = _unit(x)
    low, high = thresholds(unit, share, sides)
    found = {}
    for name, pairs in known.items():
        cosine = np.einsum("md,md->m", unit[pairs[:, 0]], unit[pairs[:, 1]], dtype=np.float64)
        found[name] = (cosine >= high) | (cosine <= low)
    return found


def recall(hits):
    """Share of the known pairs that are predicted: {database: bool [m]} -> {…: float, 'mean': …}.

    'mean' is the mean over the databases.
    """
    found = {name: float(hit.mean()) for name, hit in hits.items()}
    return {**found, "mean": float(np.mean(list(found.values())))}


def bootstrap(hits, known, n_genes, resamples=200, seed=0):
    """The recall when genes are drawn with replacement.

    hits {database: bool [m]}, known {database: [m, 2]} -> {database: float [resamples], 'mean': …}.
    The same seed draws the same genes for other vectors, so that two results can be compared draw
    by draw.
    """
    rng = np.random.default_rng(seed)
    found = {name: np.empty(resamples) for name in hits}
    for r in range(resamples):
        times = np.bincount(rng.integers(0, n_genes, n_genes), minlength=n_genes).astype(float)
        for name, hit in hits.items():
            weight = times[known[name][:, 0]] * times[known[name][:, 1]]
            found[name][r] = weight @ hit / max(weight.sum(), 1.0)
    return {**found, "mean": np.mean(list(found.values()), axis=0)}


def principal_scores(x):
    """Scores of all principal components, leading first: x [V, D] (centred) -> [V, rank].

    Its first k columns are the gene vectors after PCA to k dimensions.
    """
    values, directions = np.linalg.eigh(x.T @ x)
    keep = values > max(values[-1], 0) * 1e-12 * max(x.shape)
    return x @ directions[:, keep][:, ::-1]


def relationship_recall(
    vectors, known, *, sizes=SIZES, share=0.05, sides="top", resamples=200, seed=0, name="vectors"
):
    """Recall of the known pairs, raw and after PCA to each size.

    Parameters
    ----------
    vectors : [V, D]
    known : {database: int [m, 2]} from `locate`
    sizes : PCA sizes; those above the rank are left out (the rank itself is taken if all are)
    share, sides : which pairs are predicted, see `thresholds`
    resamples, seed : of the bootstrap over genes
    name : of the vectors, for errors

    Returns
    -------
    dict
        ``raw`` and ``best`` (the PCA size of the highest mean, under ``n``): {'recall': {database
        or 'mean': float}, 'sd': {…}, 'draws': float [resamples], of the mean}; ``pca`` {size:
        {database or 'mean': float}}. ``best`` is chosen on the pairs it is reported on, as in the
        paper.
    """
    x = centred(vectors, name)

    def measure(hits):
        draws = bootstrap(hits, known, len(x), resamples, seed)
        sd = {k: float(np.std(v, ddof=1)) for k, v in draws.items()}
        return {"recall": recall(hits), "sd": sd, "draws": draws["mean"]}

    scores = principal_scores(x)
    rank = scores.shape[1]
    tried = {
        k: predicted(scores[:, :k], known, share, sides)
        for k in [k for k in sorted(sizes) if k <= rank] or [rank]
    }
    sweep = {k: recall(hits) for k, hits in tried.items()}
    n = max(sweep, key=lambda k: sweep[k]["mean"])
    return {
        "dimensions": x.shape[1],
        "raw": measure(predicted(x, known, share, sides)),
        "best": {"n": n, **measure(tried[n])},
        "pca": sweep,
    }
