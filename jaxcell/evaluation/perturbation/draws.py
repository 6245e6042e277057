"""How a split draws: each kind gives the fields of a `splits.Split`.

Source: SYSTEMS.md, F and A6. GEARS' shares are those of its simulation split.
"""

import numpy as np

from .names import listed

SEEN = 0.75  # of the perturbed genes, and of the doubles of two such genes: in training
AGAIN = 0.9  # both, when training is split once more for validation


def simulation(data, seed):
    """GEARS' simulation split, `simulate` twice: first for the test, then for validation."""
    train, test, groups = simulate(data, list(data.conditions), SEEN, SEEN, seed)
    train, val, val_groups = simulate(data, train, AGAIN, AGAIN, seed)
    return dict(train=train, val=val, test=test, groups=groups, val_groups=val_groups)


def simulate(data, names, gene_share, double_share, seed):
    """One round of GEARS' split of some conditions.

    A share of the perturbed genes is seen. Trained on: the singles of seen genes, and a share of
    the doubles of two seen genes. The rest is held out. Both draws are numpy's legacy ones, from
    the same seed, over sorted names as the file spells them, so that the conditions are those that
    GEARS draws.

    Returns
    -------
    tuple, tuple, dict : train, held out, {group: its conditions}
    """
    all_genes = np.unique([gene for name in names for gene in data.conditions[name]])
    seen = set(_drawn(all_genes, int(len(all_genes) * gene_share), seed))
    train, groups, both = [], {}, []
    for name in names:
        genes = data.conditions[name]
        number = len(seen.intersection(genes))
        if number < len(genes):
            groups.setdefault(group_of(genes, number), []).append(name)
        elif len(genes) == 1:
            train.append(name)
        else:
            both.append(name)
    both.sort(key=data.written.__getitem__)
    drawn = set(_drawn(both, int(len(both) * double_share), seed))
    for name in both:
        if name not in drawn:
            genes = data.conditions[name]
            groups.setdefault(group_of(genes, len(genes)), []).append(name)
    groups = {group: tuple(sorted(groups[group])) for group in sorted(groups)}
    held_out = tuple(sorted(name for some in groups.values() for name in some))
    return tuple(sorted([*train, *drawn])), held_out, groups


def _drawn(names, number, seed):
    """Names drawn without replacement, in the order of the draw."""
    legacy = np.random.RandomState(seed)
    return [str(name) for name in legacy.choice(np.array(names, object), number, replace=False)]


def group_of(genes, seen):
    """The group of a held-out condition with so many of its genes seen in training."""
    if not genes:
        return "treatment"
    if len(genes) > 1:
        return f"combo_seen{seen}"
    return "seen_single" if seen else "unseen_single"


def _groups(data, test, train):
    """{group: conditions}, by the genes that any training condition perturbs."""
    seen = {gene for name in train for gene in data.conditions[name]}
    found = {}
    for name in test:
        genes = data.conditions[name]
        found.setdefault(group_of(genes, len(seen.intersection(genes))), []).append(name)
    return {group: tuple(sorted(found[group])) for group in sorted(found)}


def _parted(data, test, unseen=()):
    """A split by its tested conditions, and genes that no training condition may perturb."""
    others = [c for c in data.conditions if c not in test]
    train = tuple(c for c in others if not set(data.conditions[c]) & set(unseen))
    left_out = tuple(c for c in others if c not in train)
    return dict(
        train=train,
        test=tuple(sorted(test)),
        groups=_groups(data, test, train),
        left_out=left_out,
    )


def single(data, seed, held_out):
    """A share of the conditions of one gene; no double with such a gene is trained on."""
    alone = sorted(c for c, genes in data.conditions.items() if len(genes) == 1)
    number = max(1, round(len(alone) * held_out))
    test = _random(alone, number, seed)
    return _parted(data, test, [data.conditions[c][0] for c in test])


def combo(data, seed, held_out, seen):
    """Doubles of which so many genes are seen in training; see `splits.make`."""
    if seen not in (0, 1, 2):
        raise ValueError(f"seen: found {seen}, expected 0, 1 or 2 genes of a double")
    doubles = sorted(c for c, genes in data.conditions.items() if len(genes) == 2)
    alone = {genes[0] for genes in data.conditions.values() if len(genes) == 1}
    if seen == 2:
        able = [c for c in doubles if alone.issuperset(data.conditions[c])]
        return _parted(data, _random(able, max(1, round(len(able) * held_out)), seed))
    genes = sorted({gene for c in doubles for gene in data.conditions[c]})
    unseen = set(_random(genes, max(2 - seen, round(len(genes) * held_out)), seed))
    test = [c for c in doubles if len(unseen.intersection(data.conditions[c])) == 2 - seen]
    # 'Seen' is a matter of what is trained on: the other gene has to be in some condition of it.
    found = _parted(data, test, unseen)
    group = f"combo_seen{seen}"
    other = {c for name, some in found["groups"].items() if name != group for c in some}
    found["test"] = tuple(c for c in found["test"] if c not in other)
    found["groups"] = {group: found["test"]} if found["test"] else {}
    found["left_out"] = tuple(sorted([*found["left_out"], *other]))
    return found


def _random(names, number, seed):
    order = np.random.default_rng(seed).permutation(len(names))[:number]
    return [names[i] for i in sorted(order)]


def given(data, test):
    """The conditions of a list."""
    test = list(dict.fromkeys(test))
    absent = [c for c in test if c not in data.conditions]
    if absent or not test:
        raise ValueError(
            f"test: {'no condition was given' if not test else 'no cell has ' + listed(absent)};"
            f" there is {listed(data.conditions)}"
        )
    return _parted(data, test)


def cells(data, seed, held_out):
    """A share of the cells of each condition and of the control (BioFormer: 20 %, seed 42)."""
    from sklearn.model_selection import train_test_split

    if len(set(data.cells)) < len(data.cells):
        raise ValueError("obs_names: some are there twice; a split of cells names them, each once")
    # A condition of one cell cannot be on both sides: it is trained on.
    number = np.bincount(data.code + 1, minlength=len(data.conditions) + 1)
    able = np.flatnonzero(number[data.code + 1] > 1)
    _, test = train_test_split(
        able, test_size=held_out, stratify=data.code[able], random_state=seed
    )
    names = tuple(data.conditions)
    tested = set(np.unique(data.code[test]).tolist())
    some = tuple(c for i, c in enumerate(names) if i in tested)
    return dict(
        train=names,
        test=some,
        groups=_by_size(data, some),
        test_cells=tuple(data.cells[np.sort(test)].tolist()),
    )


def _by_size(data, names):
    """{group: conditions}: singles and combinations, all of which are seen."""
    found = {}
    for name in names:
        genes = data.conditions[name]
        group = ("single" if len(genes) == 1 else "combo") if genes else "treatment"
        found.setdefault(group, []).append(name)
    return {group: tuple(found[group]) for group in sorted(found)}
