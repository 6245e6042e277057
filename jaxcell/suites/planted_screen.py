"""Generated cells whose answer is known: a drug screen with planted mechanisms, laid out as
sci-Plex's public h5ad, and astrocytes with a planted disease-associated subcluster.

n cells, g genes. Layout of the screen: Srivatsan et al. 2020 (GSE139944), as monocle wrote it.
"""

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from jaxcell.evaluation.signatures import DAA

MECHANISMS = {  # sci-Plex's pathway_level_1 -> drugs: 9 and 39, as in BMFM-RNA
    "Epigenetic regulation": 8,
    "Tyrosine kinase signaling": 6,
    "DNA damage & DNA repair": 5,
    "Cell cycle regulation": 5,
    "JAK/STAT signaling": 4,
    "Protein folding & Protein degradation": 3,
    "Nuclear receptor signaling": 3,
    "Apoptotic regulation": 3,
    "Metabolic regulation": 2,
}
RARE, HARMLESS = "Antioxidant", 3  # a mechanism of one drug; drugs after which cells live on
DOSES = (10.0, 100.0, 1_000.0, 10_000.0)  # nM
HALF = 1_500.0  # nM: half of a drug's effect
PROGRAMME = 0.05  # share of the genes that a mechanism, or a drug by itself, moves
DEPTH, NUCLEUS = 2_000, 800  # counts of a cell, of a nucleus, median


def planted_screen(
    seed=0, *, cells=60, genes=800, strength=0.6, own=0.8, noise=0.35, mechanisms=None
):
    """A drug screen on one cell line: what drugs of one mechanism share is known.

    A drug moves the log rates of its mechanism's genes (normal, sd ``strength``), each mechanism as
    potently as it pleases, and of genes of its own (sd ``own``), as a Hill curve of its dose.
    Cells differ in their response, in a cell cycle, in every gene's rate (sd ``noise``, log) and in
    depth; counts are Poisson. Where a drug acts fewer cells live, which are fewer in the file too.

    Parameters
    ----------
    seed : int
    cells : of a drug at a dose, if all live; the vehicle has 8 times as many
    genes : number
    strength : of what the drugs of a mechanism share; at 0 no mechanism can be told. The default
        was chosen so that 50 components reach an AUC near .88, seed 0
    own, noise : of a drug alone, of a cell alone
    mechanisms : {name: drugs}; `MECHANISMS` by default

    Returns
    -------
    AnnData [n, genes], counts, with the columns cell_type, replicate, product_name, dose (nM),
    dose_character, vehicle, pathway_level_1, target and viability
    """
    random = np.random.default_rng(seed)
    mechanisms = MECHANISMS if mechanisms is None else mechanisms
    base = random.normal(0, 1.3, genes)
    cycle = _programme(random, genes, 0.7)
    rows, effects = [], []
    for drug, kind, programme, severity in _drugs(random, genes, mechanisms, strength, own):
        for dose in DOSES:
            acts = dose / (dose + HALF)
            viability = round(float(1 - severity * acts), 3)
            number = max(3, round(cells * viability * (1 if dose == DOSES[-1] else 0.3)))
            rows += [(drug, dose, False, kind, viability)] * number
            effects += [programme * acts] * number
    rows += [("Vehicle", 0.0, True, "Vehicle", 1.0)] * (8 * cells)
    effects += [np.zeros(genes)] * (8 * cells)
    n = len(rows)
    log = base + np.array(effects) * random.lognormal(0, 0.25, (n, 1))
    log += random.normal(size=(n, 1)) * cycle + random.normal(0, noise, (n, genes))
    names = ["product_name", "dose", "vehicle", "pathway_level_1", "viability"]
    obs = pd.DataFrame(rows, columns=names)
    obs["target"] = obs["pathway_level_1"]
    obs["dose_character"] = obs["dose"].map("{:g}".format)
    obs["cell_type"], obs["replicate"] = "A549", random.choice(["rep1", "rep2"], n)
    return _counted(random, log, DEPTH, obs, [f"GENE{i}" for i in range(genes)])


def _drugs(random, genes, mechanisms, strength, own):
    """Yield name, mechanism, log effect [genes] and severity (1 − viability at most) of each."""
    kinds = [kind for kind, number in mechanisms.items() for _ in range(number)]
    harmless = list(mechanisms)[:HARMLESS]
    shared = {kind: _programme(random, genes, strength) for kind in (*mechanisms, RARE)}
    for i, kind in enumerate([*kinds, RARE, *harmless], 1):
        potency = random.uniform(0.6, 1.4)
        effect = potency * shared[kind] + _programme(random, genes, own)
        mild = i > len(kinds) + 1
        severity = 0.05 if mild else random.uniform(0.35, 0.75)
        yield f"drug {i:02d}", kind, (0.2 if mild else 1) * effect, severity


def planted_astrocytes(seed=0, *, cells=1_600, genes=500, strength=0.85, share=(0.25, 0.04)):
    """Nuclei of a diseased and a healthy brain with a planted cluster of astrocytes (DAA).

    Four cell types, half of all cells astrocytes, in three states: two that mean nothing, and one
    where the signature's genes are moved (`signatures.DAA`, by ``strength`` in log) and a programme
    of other genes with them. Layout: GSE138852's names of obs as its papers use them.

    Parameters
    ----------
    seed : int
    cells, genes : number; the signature's are among the genes
    strength : of the planted state, log. At the default 50 components find it and the genes as
        they are do so in part; at 0.7 the components may miss it
    share : of the astrocytes that are in it, of diseased and of healthy brains

    Returns
    -------
    AnnData [cells, genes], counts, with the columns cell_type, disease (AD, control), donor and
    planted (the astrocyte's state; '' of other cells)
    """
    random = np.random.default_rng(seed)
    named = [*DAA["up"], *DAA["down"]]
    names = [*named, *(f"GENE{i}" for i in range(genes - len(named)))]
    types = random.choice(
        ["astrocyte", "oligodendrocyte", "neuron", "microglia"], cells, p=[0.5, 0.25, 0.15, 0.1]
    )
    donor = random.integers(0, 12, cells)
    diseased = donor < 6
    state = np.where(random.random(cells) < 0.5, "A1", "A2").astype(object)
    state[random.random(cells) < np.where(diseased, *share)] = "DAA"
    state[types != "astrocyte"] = ""
    base = random.normal(0, 1.2, genes)
    base[: len(named)] = random.uniform(0.5, 1.5, len(named))
    log = np.tile(base, (cells, 1)) + random.normal(0, 0.3, (cells, genes))
    for kind in np.unique(types):
        log[types == kind] += _programme(random, genes, 1.5, 0.1)
    for name in ("A1", "A2", "DAA"):
        moved = _programme(random, genes, 0.8, 0.1)
        moved[: len(named)] = 0.0
        if name == "DAA":
            moved *= strength / 0.8
            moved[: len(named)] = strength * np.repeat([1, -1], [len(DAA[w]) for w in DAA])
        log[state == name] += moved
    obs = pd.DataFrame(
        {
            "cell_type": types,
            "disease": np.where(diseased, "AD", "control"),
            "donor": [f"donor {d + 1}" for d in donor],
            "planted": state.astype(str),
        }
    )
    return _counted(random, log, NUCLEUS, obs, names)


def _programme(random, genes, sd, share=PROGRAMME):
    """Log effects of a share of the genes, zero of the others: f64 [genes]."""
    effect = random.normal(0, sd, genes)
    effect[random.permutation(genes)[round(share * genes) :]] = 0
    return effect


def _counted(random, log, median, obs, names):
    """Poisson counts of log rates [n, g], scaled to a log-normal depth, as AnnData."""
    rate = np.exp(log - log.max(axis=1, keepdims=True))
    rate /= rate.sum(axis=1, keepdims=True)
    depth = median * random.lognormal(0, 0.45, (len(log), 1))
    x = sp.csr_matrix(random.poisson(rate * depth).astype(np.float32))
    obs.index = [f"cell {i}" for i in range(len(obs))]
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=names))
