import json
import re

import numpy as np
import pytest

from jaxcell.evaluation.perturbation import splits
from jaxcell.evaluation.perturbation.conditions import perturbations
from jaxcell.evaluation.perturbation.draws import simulate
from tests.evaluation.perturbation import planted


@pytest.fixture(scope="module")
def data():
    return perturbations(planted.additive(perturbed=12, doubles=40, cells=6, genes=14))


def genes_of(data, names):
    return {gene for name in names for gene in data.conditions[name]}


def brute(written, gene_share, double_share, seed):
    """The split of a list of conditions as SYSTEMS.md describes it, with numpy's global state."""
    parts = {name: [g for g in name.split("+") if g != "ctrl"] for name in written}
    genes = sorted({g for some in parts.values() for g in some})
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        seen = np.random.choice(genes, int(len(genes) * gene_share), replace=False)  # noqa: NPY002
        both = sorted(n for n, p in parts.items() if len(p) == 2 and set(p) <= set(seen))
        np.random.seed(seed)  # noqa: NPY002
        drawn = np.random.choice(both, int(len(both) * double_share), replace=False)  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002
    singles = [n for n, p in parts.items() if len(p) == 1 and p[0] in seen]
    groups = {"combo_seen2": set(both) - set(drawn)}
    for k in (0, 1):
        groups[f"combo_seen{k}"] = {
            n for n, p in parts.items() if len(p) == 2 and len(set(p) & set(seen)) == k
        }
    groups["unseen_single"] = {n for n, p in parts.items() if len(p) == 1 and p[0] not in seen}
    return {*singles, *map(str, drawn)}, {g: some for g, some in groups.items() if some}


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_simulation_draws_what_gears_draws(data, seed):
    split = splits.make(data, seed=seed)

    def spelled(names):
        return {data.written[name] for name in names}

    train, groups = brute(list(data.written.values()), 0.75, 0.75, seed)
    assert {g: spelled(some) for g, some in split.groups.items()} == groups
    assert spelled((*split.train, *split.val)) == train
    train, groups = brute(sorted(train), 0.9, 0.9, seed)
    assert {g: spelled(some) for g, some in split.val_groups.items()} == groups
    assert spelled(split.train) == train


def test_simulation_by_hand(data):
    """Eight genes alone and three doubles: what is seen decides."""
    names = [f"G{i}" for i in range(8)]
    train, held_out, groups = simulate(data, names, 0.75, 0.75, seed=1)
    assert len(train) == 6
    assert groups == {"unseen_single": held_out}
    assert sorted(train + held_out) == sorted(names)
    # numpy's legacy permutation of 8 by seed 1 begins 7 2 1 6 0 4
    assert train == ("G0", "G1", "G2", "G4", "G6", "G7")


@pytest.mark.parametrize("seed", range(5))
def test_simulation_is_disjoint_complete_and_keeps_unseen_genes_unseen(data, seed):
    split = splits.make(data, seed=seed)
    parts = [*split.train, *split.val, *split.test]
    assert sorted(parts) == sorted(data.conditions)
    assert split == splits.make(data, seed=seed)
    assert sorted(c for some in split.groups.values() for c in some) == list(split.test)
    seen = genes_of(data, (*split.train, *split.val))
    for group, names in split.groups.items():
        for name in names:
            known = len(seen.intersection(data.conditions[name]))
            if group == "unseen_single":
                assert known == 0
            else:
                assert known == int(group[-1])
    unseen = genes_of(data, split.groups["unseen_single"])
    assert not unseen & seen
    assert splits.make(data).seed == 1


@pytest.mark.parametrize("seed", range(3))
def test_single_holds_genes_out(data, seed):
    split = splits.make(data, "single", seed=seed)
    assert len(split.test) == 2  # 20 % of 12
    assert not genes_of(data, split.test) & genes_of(data, split.train)
    assert list(split.groups) == ["unseen_single"]
    assert sorted((*split.train, *split.test, *split.left_out)) == sorted(data.conditions)


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_combo_holds_doubles_out(data, seen):
    split = splits.make(data, "combo", seen=seen, held_out=0.3)
    trained = genes_of(data, split.train)
    assert list(split.groups) == [f"combo_seen{seen}"]
    for name in split.test:
        genes = data.conditions[name]
        assert len(genes) == 2
        assert len(trained.intersection(genes)) == seen
        assert seen < 2 or set(genes) <= set(split.train)
    assert sorted((*split.train, *split.test, *split.left_out)) == sorted(data.conditions)


def test_a_list_in_any_spelling(data):
    double = next(name for name in data.conditions if "+" in name)
    other = "+".join(reversed(double.split("+")))
    split = splits.make(data, "list", test=[other, "ctrl+G3"])
    assert set(split.test) == {double, "G3"}
    assert len(split.train) == len(data.conditions) - 2
    assert not split.left_out


def test_cells_as_bioformer_holds_them_out(data):
    from sklearn.model_selection import train_test_split

    split = splits.make(data, "cells")
    assert split.seed == 42
    train, test = split.rows(data)
    assert not (train & test).any()
    assert split.train == split.test == tuple(data.conditions)
    _, held = train_test_split(
        np.arange(len(data.code)), test_size=0.2, stratify=data.code, random_state=42
    )
    assert set(split.test_cells) == set(data.cells[held])
    assert test.sum() == sum(data.code[held] >= 0)
    assert (data.control & train).sum() == round(0.8 * data.control.sum())


def test_rows_of_conditions(data):
    split = splits.make(data)
    train, test = split.rows(data)
    names = np.array([*data.conditions, "ctrl"])[data.code]
    assert set(names[train]) == {*split.train, "ctrl"}
    assert set(names[test]) == set(split.test)


@pytest.mark.parametrize("kind", ["simulation", "cells"])
def test_a_split_is_read_as_it_was_written(data, tmp_path, kind):
    split = splits.make(data, kind)
    split.write(tmp_path / "s.json")
    read = splits.Split.read(tmp_path / "s.json")
    assert read == split
    read.check(data)
    assert list(tmp_path.iterdir()) == [tmp_path / "s.json"]


def test_other_files_and_other_data_are_refused(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"jaxcell perturb split makes one"):
        splits.Split.read(tmp_path / "none.json")
    for text in ("{", "[]", "{}", json.dumps({"train": []})):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(ValueError, match="found no split"):
            splits.Split.read(tmp_path / "s.json")
    few = perturbations(planted.additive(perturbed=4, doubles=2, cells=4, genes=14))
    with pytest.raises(ValueError, match="not in the data: "):
        splits.make(data).check(few)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (dict(kind="random"), "split: found 'random', expected one of simulation"),
        (dict(kind="list"), "test: no condition was given"),
        (dict(kind="list", test=["G77"]), "no cell has G77"),
        (dict(kind="combo", seen=3), "seen: found 3"),
        (dict(kind="single", held_out=1.5), "held_out: found 1.5"),
    ],
)
def test_what_is_wrong_is_named(data, asked, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        splits.make(data, **asked)


def test_a_treatment_can_only_be_split_by_cells(data):
    treated = planted.cells_of({"stim": np.full(5, 2.0)}, np.ones(5))
    treated = perturbations(treated, treatment=True)
    with pytest.raises(ValueError, match="name none; expected list or cells"):
        splits.make(treated)
    with pytest.raises(ValueError, match="list leaves 0 of 1 conditions to train on"):
        splits.make(treated, "list", test=["stim"])
    assert splits.make(treated, "cells").groups == {"treatment": ("stim",)}
