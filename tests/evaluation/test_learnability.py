"""Learnability: by hand, against plain pool-adjacent-violators and enumeration, and end to end."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest

import jaxcell
from jaxcell import cli
from jaxcell.evaluation import learnability as numbers
from jaxcell.evaluation import learnability_groups, names_in_figures


def errors(log_error, zero_fraction, n=10_000, names=None):
    """A gene-error table of given log rescaled MAE and zero fractions; null: half of the mean."""
    log_error, x = np.asarray(log_error, float), np.broadcast_to(zero_fraction, len(log_error))
    names = [f"G{i}" for i in range(len(x))] if names is None else names
    mean = np.linspace(1, 2, len(x))
    return pd.DataFrame({
        "gene": names, "ensembl": "", "n_cells": n, "n_detected": np.rint(n * (1 - x)).astype(int),
        "auc": 0.9, "mae_nonzero": np.exp(log_error) * mean, "mean_nonzero": mean,
        "null_nonzero": 0.5 * mean,
    })  # fmt: skip


def write(table, path):
    table.to_csv(path, sep="\t", index=False, float_format="%.17g")
    return path


def scored(table, tmp_path, **options):
    return numbers.score(numbers.read_errors(write(table, tmp_path / "t.tsv")), "t", **options)


def planted():
    """Three levels of sparsity of 60 genes each, of which the trend is the mean by symmetry.

    At .2 two genes stand out of nearly none spread, at .6 none, at .9 W wins and L loses.
    """
    level = {
        0.2: (-2.0, [0.001] * 29 + [-0.001] * 29 + [-0.05, 0.05]),
        0.6: (-1.0, [0.1] * 30 + [-0.1] * 30),
        0.9: (-0.2, [0.1] * 29 + [-0.1] * 29 + [-1.0, 1.0]),
    }
    log = np.concatenate([m + np.array(r) for m, r in level.values()])
    names = [f"G{i}" for i in range(178)] + ["W", "L"]
    return errors(log, np.repeat(list(level), 60), names=names)


def test_planted_winners_are_found_with_their_z(tmp_path):
    found = scored(planted(), tmp_path).set_index("gene")
    sd = math.sqrt((58 * 0.1**2 + 2 * 1.0**2) / 59)
    assert found.loc["W", "z"] == pytest.approx(-1 / sd, abs=1e-9)
    assert found.loc["L", "z"] == pytest.approx(1 / sd, abs=1e-9)
    assert found.loc["G0", "trend"] == pytest.approx(math.exp(-2), abs=1e-12)
    # Far out by Z (5.3), but 5 % from the trend: of no practical significance.
    near = math.sqrt((58 * 0.001**2 + 2 * 0.05**2) / 59)
    assert found.loc["G58", "z"] == pytest.approx(-0.05 / near, abs=1e-7)
    assert found["verdict"][found["verdict"] != ""].to_dict() == {"W": "winner", "L": "loser"}
    assert not found["sparse"].iloc[:60].any()
    assert found["sparse"].iloc[60:].all()
    # With a smaller margin, the two at .2 count; with a larger cut, no gene does.
    small = scored(planted(), tmp_path, margin=0.04).set_index("gene")["verdict"]
    assert small[["W", "L", "G58", "G59"]].tolist() == ["winner", "loser", "winner", "loser"]
    assert not (scored(planted(), tmp_path, cut=5.5)["verdict"] != "").any()


def test_the_margin_is_absolute_not_of_logs(tmp_path):
    # 10 % below is exp(-.1054), 10 % above exp(.0953): .1 in logs wins nothing but loses.
    table = errors([0.002] * 29 + [-0.002] * 29 + [-0.1, 0.1], 0.9)
    found = scored(table, tmp_path)
    assert found["z"].abs().nlargest(2).min() > 5
    assert found["verdict"].iloc[-2:].tolist() == ["", "loser"]


def test_the_definitions_by_hand(tmp_path):
    table = planted()
    table.loc[0, ["n_cells", "n_detected"]] = [400, 99]  # not reliable
    table.loc[1, ["n_cells", "n_detected"]] = [400, 100]
    table.loc[1, ["mae_nonzero", "mean_nonzero", "null_nonzero"]] = [0.3, 1.5, 0.3]
    table.loc[2, ["mae_nonzero", "mean_nonzero", "null_nonzero"]] = [0.29, 1.5, 0.3]
    table.loc[3, "n_cells"] = 0
    table.loc[3, "n_detected"] = 0
    table.loc[3, ["auc", "mae_nonzero", "mean_nonzero", "null_nonzero"]] = np.nan
    found = scored(table, tmp_path)
    assert found["reliable"].tolist()[:4] == [False, True, True, False]
    assert found["zero_fraction"].iloc[1] == 0.75
    assert found["rescaled_mae"].iloc[1] == pytest.approx(0.2)
    assert found["null_ratio"].iloc[2] == pytest.approx(0.29 / 0.3)
    assert found["beats_null"].tolist()[:4] == [True, False, True, False]
    assert np.isnan(found["z"].iloc[[0, 3]].astype(float)).all()
    assert found["verdict"].iloc[[0, 3]].tolist() == ["", ""]
    s = numbers.summary(found)
    # G1, alone at .75, is far below the level of .6 that it is pooled with: a second winner.
    assert found["verdict"].iloc[1] == "winner"
    assert (s["genes"], s["reliable"], s["winners"], s["losers_sparse"]) == (180, 178, 2, 1)
    own = found[found["reliable"]]
    x, y = own["zero_fraction"].to_numpy(), own["rescaled_mae"].to_numpy()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    left = ((y - y.mean() - slope * (x - x.mean())) ** 2).sum()
    assert s["r2"] == pytest.approx(1 - left / ((y - y.mean()) ** 2).sum(), abs=1e-12)
    log, fit = np.log(y), np.log(own["trend"].to_numpy(float))
    expected = 1 - ((log - fit) ** 2).sum() / ((log - log.mean()) ** 2).sum()
    assert s["r2_trend"] == pytest.approx(expected, abs=1e-12)


def pool_adjacent(x, y):
    """Isotonic regression by pooling; genes of one x are one block from the start."""
    blocks = [[y[x == v].sum(), int((x == v).sum())] for v in np.unique(x)]
    level = []
    for total, n in blocks:
        level.append([total, n, 1])
        while len(level) > 1 and level[-2][0] / level[-2][1] > level[-1][0] / level[-1][1]:
            total, n, values = level.pop()
            level[-1] = [level[-1][0] + total, level[-1][1] + n, level[-1][2] + values]
    fit = np.repeat([t / n for t, n, _ in level], [k for _, _, k in level])
    return fit[np.searchsorted(np.unique(x), x)]


@pytest.mark.parametrize("seed", range(3))
def test_trend_and_sd_equal_plain_numpy(seed):
    rng = np.random.default_rng(seed)
    x = np.round(rng.beta(4, 1, 400), 2 if seed else 6)  # with ties and without
    log = x + rng.normal(0, 0.3, 400) * (0.2 + x)
    trend = numbers.trend(x, np.exp(log))
    np.testing.assert_allclose(np.log(trend), pool_adjacent(x, log), atol=1e-9)
    residual = log - np.log(trend)
    found = numbers.local_sd(x, residual, window=0.1, fewest=50)
    widened = 0
    for i in range(400):
        near = np.abs(x - x[i]) <= 0.05 + 1e-12
        if near.sum() >= 50:
            assert found[i] == pytest.approx(residual[near].std(ddof=1), abs=1e-9)
            continue
        widened += 1
        reach = np.sort(np.abs(x - x[i]))[49]
        if seed == 0:  # no ties: the 50 nearest are one set
            near = np.abs(x - x[i]) <= reach
            assert found[i] == pytest.approx(residual[near].std(ddof=1), abs=1e-9)
    assert widened > 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns=["mean_nonzero", "null_nonzero"]),
         r"t\.tsv: has no tab-separated column mean_nonzero, null_nonzero; write .* `jaxcell"),
        (lambda t: t.assign(n_detected=t["n_cells"] + 1), "between 0 and n_cells"),
        (lambda t: t.assign(gene="A"), r"t\.tsv: names A, A, A"),
        (lambda t: t.assign(mean_nonzero=[0.0, *t["mean_nonzero"][1:]]), "G0 has non-zero entries"),
        (lambda t: t.assign(mae_nonzero=[0.0, *t["mae_nonzero"][1:]]), "mae_nonzero of G0 is 0"),
        (lambda t: t.assign(auc="high"), "auc is not a number"),
        (lambda t: t[:30], "t: 30 genes have 100 non-zero entries or more, expected 50"),
    ],
)  # fmt: skip
def test_other_tables_are_refused(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        scored(change(planted()), tmp_path)


def test_parameters_out_of_range_are_refused(tmp_path):
    for options in ({"window": 0}, {"cut": -1}, {"margin": 1}, {"min_detected": 0}):
        with pytest.raises(ValueError, match="expected 1 or more, above 0 up to 1"):
            scored(planted(), tmp_path, **options)


def hypergeometric(k, n, a, b):
    return math.comb(a, k) * math.comb(n - a, b - k) / math.comb(n, b)


def test_odds_ratio_by_hand():
    found = learnability_groups.odds_ratio(6, 20, 10, 100)
    assert found["ratio"] == pytest.approx(6 * 90 / (14 * 10))
    error = 1.96 * math.sqrt(1 / 6 + 1 / 14 + 1 / 10 + 1 / 90)
    assert found["low"] == pytest.approx(math.exp(math.log(540 / 140) - error))
    assert found["high"] == pytest.approx(math.exp(math.log(540 / 140) + error))
    # Fisher: all tables of these margins that are no likelier.
    chance = [hypergeometric(k, 120, 16, 20) for k in range(17)]
    assert found["p"] == pytest.approx(sum(p for p in chance if p <= chance[6] * (1 + 1e-9)))
    # A zero: 1/2 is added to all four.
    none = learnability_groups.odds_ratio(0, 20, 10, 100)
    assert none["ratio"] == pytest.approx(0.5 * 90.5 / (20.5 * 10.5))
    assert none["low"] < none["ratio"] < none["high"] < math.inf
    assert learnability_groups.odds_ratio(0, 0, 1, 2) is None


def genes_of(rows):
    """A `score` with group, z and verdict given: [(group, z, verdict, sparse)]."""
    frame = pd.DataFrame(rows, columns=["group", "z", "verdict", "sparse"])
    frame = frame.assign(
        reliable=True, zero_fraction=0.9, auc=[0.5 + i / 100 for i in range(len(rows))],
        rescaled_mae=[1 + i / 10 for i in range(len(rows))],
        beats_null=[i % 2 == 0 for i in range(len(rows))],
    )  # fmt: skip
    return frame, frame["group"]


def test_groups_by_hand():
    rows = [("a", -3, "winner", True), ("a", -2.5, "winner", True), ("a", -0.5, "", False)]
    rows += [("b", 0.3, "", True), ("b", 0.8, "loser", True)]
    rows += [("rest", z, "", True) for z in (0.1, -1.0, 0.5, 1.5)] + [
        ("rest", -2.2, "winner", True)
    ]
    genes, labels = genes_of(rows)
    genes.loc[len(genes)] = {**genes.iloc[0], "reliable": False}  # counts nowhere
    labels = genes["group"]
    found = learnability_groups.group_table(genes, labels, "rest")
    a = found["all"]["a"]
    assert (a["genes"], a["winners"], a["losers"]) == (3, 2, 0)
    assert a["winner_rate"] == pytest.approx(2 / 3)
    assert (a["z"], a["rescaled_mae"], a["auc"]) == (-2.5, 1.1, 0.51)
    assert a["quartiles"] == pytest.approx([1.05, 1.15])
    assert a["beats_null"] == pytest.approx(2 / 3)
    assert a["odds"]["ratio"] == pytest.approx(2 * 4 / (1 * 1))
    assert found["sparse"]["a"]["genes"] == 2
    assert found["sparse"]["a"]["winner_rate"] == 1
    assert found["all"]["rest"]["odds"] is found["all"]["rest"]["z_test"] is None
    # Mann and Whitney, by all ways to draw 3 of the 8.
    z = np.array([-3, -2.5, -0.5, 0.1, -1.0, 0.5, 1.5, -2.2])
    rank = z.argsort().argsort()
    sums = [sum(draw) for draw in itertools.combinations(range(8), 3)]
    own = rank[:3].sum()
    tail = min(np.mean([s <= own for s in sums]), np.mean([s >= own for s in sums]))
    assert a["z_test"]["p"] == pytest.approx(min(1, 2 * tail))
    # Two tests: q is p · 2 / rank, not above that of the next.
    p = [found["all"][g]["z_test"]["p"] for g in "ab"]
    q = [found["all"][g]["z_test"]["q"] for g in "ab"]
    first, last = np.argsort(p)
    assert q[last] == pytest.approx(p[last])
    assert q[first] == pytest.approx(min(2 * p[first], p[last]))


def test_without_a_reference_there_is_no_test():
    genes, labels = genes_of([("a", -3, "winner", True), ("b", 1, "", True)])
    found = learnability_groups.group_table(genes, labels, "rest")["all"]
    assert found["a"]["winner_rate"] == 1
    assert found["a"]["odds"] is found["b"]["z_test"] is None


def test_overlap_is_the_papers_and_equals_enumeration():
    found = learnability_groups.overlap(283, 909, 371, 16288)
    assert found["expected"] == pytest.approx(20.7, abs=0.01)
    assert found["fold"] == pytest.approx(13.7, abs=0.05)
    assert found["p"] < 1e-250
    small = learnability_groups.overlap(2, 4, 3, 9)
    draws = list(itertools.combinations(range(9), 3))
    assert small["p"] == pytest.approx(np.mean([len({*d} & {0, 1, 2, 3}) >= 2 for d in draws]))
    none = learnability_groups.overlap(0, 0, 3, 9)
    assert (none["fold"], none["p"]) == (None, 1.0)
    with pytest.raises(ValueError, match="found 4 of 3 and 5 among 9"):
        learnability_groups.overlap(4, 3, 5, 9)


def test_rank_correlation_by_hand():
    found = learnability_groups.rank_correlation([1, 5, 9, 11], [2, 3, 40, 4])
    assert found["rho"] == pytest.approx(1 - 6 * (0 + 0 + 1 + 1) / (4 * 15))
    assert learnability_groups.rank_correlation([1, 2], [1, 2])["rho"] is None
    assert learnability_groups.rank_correlation([1, 2, 3], [1, 1, 1])["rho"] is None


def test_two_models_agree_on_planted_winners(tmp_path):
    one = planted()
    two = one.copy()
    two.loc[one["gene"] == "L", "mae_nonzero"] *= math.exp(-2)  # the loser wins there, as W does
    two.loc[0, "n_detected"] = 50
    a, b = (scored(t, tmp_path) for t in (one, two))
    labels = pd.Series(np.where(np.arange(180) % 2, "odd", "Unclassified"), a.index)
    families = [learnability_groups.group_table(t, labels, "Unclassified") for t in (a, b)]
    found = learnability_groups.compare(a, b, families)
    assert found["shared"] == 179
    pick = {k: found["winners"][k] for k in ("both", "a", "b", "of", "expected")}
    assert pick == {"both": 1, "a": 1, "b": 2, "of": 179, "expected": 2 / 179}
    assert found["winners"]["p"] == pytest.approx(2 / 179)
    assert found["winners_paper"]["of"] == 180
    assert found["z_winners"] == {"n": 1, "rho": None, "p": None}
    assert found["families"]["z"]["n"] == 2
    b.index = b.index + "x"
    with pytest.raises(ValueError, match="no gene is reliable in both tables"):
        learnability_groups.compare(a, b, families)


def test_curves_by_hand(tmp_path):
    last = planted()
    first = last.assign(mae_nonzero=last["mae_nonzero"] * 2)
    genes = scored(last, tmp_path)
    labels = pd.Series(["rest"] * 178 + ["edge", "edge"], genes.index)
    tables = {
        name: numbers.read_errors(write(t, tmp_path / f"{name}.tsv"))
        for name, t in (("e1", first), ("e2", last))
    }
    found = numbers.curves(tables, genes, labels)
    assert found["epochs"] == ["e1", "e2"]
    assert found["genes"] == {"edge": 2, "rest": 178}
    middle = (math.exp(-1.2) + math.exp(0.8)) / 2
    assert found["medians"]["edge"] == pytest.approx([2 * middle, middle])
    with pytest.raises(ValueError, match="e1: lacks 1 of the model's genes"):
        numbers.curves({"e1": tables["e1"].drop(index="W")}, genes, labels)


def test_names_are_moved_apart():
    places = names_in_figures.spread([1.0, 0.99, 0.2], 0.1, 0.0)
    np.testing.assert_allclose(places, [1.045, 0.945, 0.2])  # as far up as down
    np.testing.assert_allclose(names_in_figures.spread([0.02, 0.01], 0.1, 0.0), [0.1, 0.0])
    from matplotlib.figure import Figure

    axes = Figure((4, 4), dpi=100).add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    x = [0.5, 0.501, 0.502, 0.5]
    taken = names_in_figures.name_points(axes, x, x, ["one", "two", "three", "four"])
    assert len(taken) == 4
    for a, b in itertools.combinations(taken, 2):
        assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


@pytest.fixture
def files(tmp_path):
    """Two models of 600 genes, MT- and RPL ones among them; two epochs; lists of programs."""
    rng = np.random.default_rng(0)
    names = [f"MT-{i}" for i in range(10)] + [f"RPL{i}" for i in range(30)]
    names += [f"CD{i}" for i in range(60)] + [f"G{i}" for i in range(500)]
    x = np.concatenate([rng.uniform(0.1, 0.4, 40), rng.uniform(0.55, 0.95, 560)])
    log = x - 1.2 + rng.normal(0, 0.05, 600)
    log[40:70] -= 0.4  # half of CD win
    two = log + rng.normal(0, 0.02, 600)
    write(errors(log, x, names=names), tmp_path / "wced.tsv")
    write(errors(two, x, names=names), tmp_path / "mlm.tsv")
    write(errors(log + 0.5, x, names=names), tmp_path / "epoch_1.tsv")
    (tmp_path / "identity.txt").write_text("\n".join(f"CD{i}" for i in range(60)))
    (tmp_path / "hk.txt").write_text("\n".join(f"G{i} \tNM_{i}" for i in range(100)))
    return tmp_path


def test_the_command_leaves_tables_and_pictures(files, capsys):
    out, paths = files / "out", [str(files / f"{n}.tsv") for n in ("wced", "mlm", "epoch_1")]
    cli.main(["learnability", *paths[:2], "--out", str(out), "--epochs", paths[2], paths[0],
              "--partitions", f"identity={files}/identity.txt",
              f"housekeeping={files}/hk.txt"])  # fmt: skip
    said = capsys.readouterr().out
    assert "wced: 600 reliable genes of 600" in said
    assert "left out, without their files: MHC / Antigen Pres. (Other), TF: Zinc" in said
    results = json.loads((out / "learnability.json").read_text())
    model = results["models"]["wced"]
    assert model["family"]["sparse"]["Surface Marker (CD)"]["winner_rate"] == 0.5
    assert model["program"]["sparse"]["identity_associated"]["odds"]["low"] > 10
    assert {g["gene"] for g in model["winners"]} >= {f"CD{i}" for i in range(30)}
    assert results["comparison"]["winners"]["both"] >= 30
    y = results["curves"]["medians"]["Mitochondrial Genome"]
    assert y[0] == pytest.approx(y[1] * math.exp(0.5))
    assert results["curves"]["epochs"] == ["epoch_1", "wced"]
    table = pd.read_csv(out / "genes.tsv", sep="\t", keep_default_na=False)
    assert table.groupby("model").size().to_dict() == {"wced": 600, "mlm": 600}
    won = table[(table["model"] == "wced") & (table["verdict"] == "winner")]
    assert len(won) == len(model["winners"])
    page = (out / "learnability.md").read_text()
    assert "**left out** (program): state_dissociation, needs dissociation" in page
    assert "constitutive: hk.txt" in page
    for file in results["meta"]["figures"].values():
        assert (out / file).stat().st_size > 20_000
        assert f"]({file})" in page


def test_one_model_without_programs_and_epochs(files):
    found = jaxcell.learnability({"mine": files / "wced.tsv"}, out=files / "out")
    assert found["comparison"] is found["curves"] is None
    assert "program" not in found["models"]["mine"]
    assert "state_dissociation" in found["meta"]["absent"]["program"]
    assert (files / "out" / "learnability_mine.png").is_file()


def test_what_is_wrong_is_said_before_anything_is_written(files):
    out, wced = files / "out", files / "wced.tsv"
    with pytest.raises(FileNotFoundError, match=r"no\.tsv: no such gene-error table"):
        jaxcell.learnability([files / "no.tsv"], out=out)
    with pytest.raises(ValueError, match="found 3, expected one or two"):
        jaxcell.learnability({"a": wced, "b": wced, "c": wced}, out=out)
    with pytest.raises(ValueError, match="would have the same names; give them as NAME=FILE"):
        jaxcell.learnability([wced, wced], out=out)
    with pytest.raises(ValueError, match="is a file; learnability writes a folder"):
        jaxcell.learnability(wced, out=wced)
    with pytest.raises(ValueError, match="found hpa, expected of: gaf"):
        jaxcell.learnability(wced, out=out, partitions={"hpa": "x"})
    for given, text in (
        ([f"a={wced}", str(wced)], "expected NAME=FILE, each its own"),
        ([str(wced), "--partitions", "identity=a", "identity=b"], "found 'identity' twice"),
    ):
        with pytest.raises(SystemExit, match=text):
            cli.main(["learnability", "--out", str(out), *given])
    assert not out.exists()


def test_two_files_of_one_name_are_called_by_their_folders(files):
    paths = []
    for run in ("run_a", "run_b"):
        (files / run).mkdir()
        paths.append(write(pd.read_csv(files / "mlm.tsv", sep="\t"), files / run / "errors.tsv"))
    found = jaxcell.learnability(paths, out=files / "out")
    assert list(found["models"]) == ["run_a", "run_b"]
    assert found["comparison"]["z"]["rho"] == pytest.approx(1)
