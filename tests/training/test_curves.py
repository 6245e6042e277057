"""The pictures of training runs: what they draw, several over each other, the same each time."""

import numpy as np
import pandas as pd
import pytest

from jaxcell.palette import PALETTE
from jaxcell.training import curves, gene_figure, metrics, report
from tests.training.test_report import curve, written

TITLES = {
    *("loss", "validation loss by data seen", "learning rate"),
    *("speed, without compiling and validation", "norm of the gradient, before clipping"),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved."""
    from matplotlib.figure import Figure

    figures = []

    def save(figure, path, **_):
        figures.append(figure)
        open(path, "wb").close()

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def panels(figure):
    return {axes.get_title("left"): axes for axes in figure.axes if axes.get_visible()}


def test_the_figure_holds_every_curve(tmp_path, drawn):
    runs = [written(tmp_path / n, seed=i) for i, n in enumerate("ab")]
    curves.draw(report.read_runs(runs), tmp_path / "x.png")
    shown = panels(drawn[0])
    assert set(shown) == TITLES
    loss, cells, rate = (
        shown[t] for t in ("loss", "validation loss by data seen", "learning rate")
    )
    assert [len(a.lines) for a in (loss, cells, rate)] == [6, 3, 2]  # 2 and 1 horizontal ones
    assert [line.get_ydata()[0] for line in loss.lines[:2]] == [-15, -25]
    np.testing.assert_array_equal(loss.lines[3].get_xdata(), [10, 20, 30, 40])
    np.testing.assert_array_equal(cells.lines[1].get_xdata(), np.arange(10, 41, 10) * 16)
    np.testing.assert_allclose(cells.lines[1].get_ydata(), -20 + 30 / np.arange(10, 41, 10))
    np.testing.assert_allclose(rate.lines[0].get_ydata()[-1], 1e-3)
    assert [line.get_color() for line in rate.lines] == list(PALETTE[:2])
    assert shown["speed, without compiling and validation"].get_ylabel() == "cells/s"
    assert [t.get_text() for t in drawn[0].legends[0].get_texts()] == ["a", "b"]
    # Other held-out cells have another mean predictor: each run has its own lines then.
    runs.append(written(tmp_path / "c", content="b" * 64))
    curves.draw(report.read_runs(runs), tmp_path / "x.png")
    assert len(panels(drawn[1])["loss"].lines) == 6 + 6


def test_each_part_of_the_loss_has_a_panel(tmp_path, drawn):
    lines = [
        {**line, "train/mgm": 9.0, "val/mgm": 8.0, "val/mgm_at_means": 10.0, "train/dar": 1.0}
        for line in curve(40, -20)
    ]
    [run] = report.read_runs([written(tmp_path / "run", lines=lines)])
    weights = {"mgm": 1.0, "mgm_at_means": 0.0, "dar": 2.0, "never": 1.0}
    run.info["config"]["losses"] = {name: {"weight": w} for name, w in weights.items()}
    assert curves.parts([run]) == ["mgm", "dar"]
    curves.draw([run], tmp_path / "x.png")
    shown = panels(drawn[0])
    assert set(shown) == TITLES | {"part: mgm", "part: dar"}
    assert [line.get_ydata()[0] for line in shown["part: mgm"].lines] == [10, 9, 8]
    low, high = shown["part: mgm"].get_ylim()
    assert low < 8
    assert high >= 10  # the line of the means is in sight
    assert drawn[0].legends == []
    del run.info["config"]["losses"]["dar"]
    assert curves.parts([run]) == []


def test_the_first_steps_do_not_press_the_others_flat(tmp_path, drawn):
    lines = [{"step": s, "train/loss": 1e6 if s == 1 else 1 / s} for s in range(1, 101)]
    curves.draw(report.read_runs([written(tmp_path / "run", lines=lines)]), tmp_path / "x.png")
    assert panels(drawn[0])["loss"].get_ylim()[1] < 1e5


def test_more_runs_than_colours_differ_by_their_lines(tmp_path, drawn):
    runs = report.read_runs([written(tmp_path / f"r{i}") for i in range(10)])
    curves.draw(runs, tmp_path / "x.png")
    lines = panels(drawn[0])["learning rate"].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_another_metric_has_the_panel_to_itself_and_runs_without_it_are_named(tmp_path, drawn):
    lines = [{**x, **({"val/avg_bio": 0.5} if "val/loss" in x else {})} for x in curve(40, -20)]
    runs = report.read_runs([written(tmp_path / "a", lines=lines), written(tmp_path / "$b$")])
    runs[0].info["config"]["best"] = ["val/avg_bio", "max"]
    curves.draw(runs, tmp_path / "x.png")
    axes = panels(drawn[0])["validation avg_bio by data seen"]
    low, high = axes.get_ylim()
    assert 0.4 < low < 0.5 < high < 0.6  # no loss of what needs no model beside it
    assert len(axes.texts) == 0
    assert axes.get_xlabel() == "cells seen\nwithout val/avg_bio: \\$b\\$"
    curves.draw(runs[:1], tmp_path / "x.png")
    assert panels(drawn[1])["validation avg_bio by data seen"].get_xlabel() == "cells seen"


@pytest.mark.parametrize("first", ["_old", "old"])
def test_the_legend_names_each_run_beside_its_line(tmp_path, drawn, first):
    """Matplotlib leaves out what begins with _ where it looks for names itself."""
    runs = [written(tmp_path / first), written(tmp_path / "new", seed=1)]
    for run in runs:
        genes().to_csv(run / "gene_errors.tsv", sep="\t", index=False)
    report.report(runs, tmp_path / "out")
    for figure in drawn:
        [legend] = figure.legends
        found = {
            t.get_text(): h.get_color()
            for t, h in zip(legend.texts, legend.legend_handles, strict=True)
        }
        assert found == {first: PALETTE[0], "new": PALETTE[1]}
    last = panels(drawn[0])["learning rate"].lines
    assert [line.get_color() for line in last] == list(PALETTE[:2])


def test_the_title_and_what_is_below_it_say_what_is_there(tmp_path, drawn):
    lines = [{k: v for k, v in x.items() if "val/" not in k} for x in curve(40, -20)]
    report.draw_run(written(tmp_path / "arm" / "model"))
    report.draw_run(written(tmp_path / "blind", lines=lines))
    said = [[text.get_text() for text in figure.texts] for figure in drawn]
    assert said[0] == [
        "arm/model", "thin: training, thick: validation; dotted: to compare with, by its name"
    ]  # fmt: skip
    assert said[1][1] == "training"
    names = [text.get_text() for text in panels(drawn[0])["loss"].texts]
    assert names == ["mean predictor", "perfect prediction"]


def test_the_rate_is_of_training_alone(monkeypatch):
    """Ten steps of 64 cells, 2 s each; the first compiles for 100 s, validation takes 50 s."""
    now = [0.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    progress = metrics.Progress(0, 10, 64)
    found = []
    for step in range(1, 11):
        now[0] += 100 if step == 1 else 2
        progress.step()
        if step in (1, 5, 10):
            found.append(progress.rate())
            now[0] += 50
            progress.lap()
    assert found == [{}, {"cells_per_s": 32}, {"cells_per_s": 32}]
    noted = []
    monkeypatch.setattr(progress._bar, "note", noted.append)
    progress.show({"loss": 1.0})
    assert noted == ["loss 1.00"]  # the bar tells one rate itself


def genes(number=400, seed=0):
    random = np.random.default_rng(seed)
    detected = random.integers(0, 1000, number)
    table = {"gene": [f"G{i}" for i in range(number)], "n_cells": 1000, "n_detected": detected}
    for key in ("auc", "ratio", "mean_nonzero", "mae_nonzero", "null_nonzero"):
        table[key] = random.uniform(0.5, 1, number)
    return pd.DataFrame(table)


def test_genes_are_drawn_at_the_end_of_a_run_and_in_a_report(tmp_path, drawn):
    one, two, three = (written(tmp_path / name) for name in ("one", "two", "three"))
    for i, run in enumerate((one, two)):
        genes(seed=i).to_csv(run / "gene_errors.tsv", sep="\t", index=False)
    report.draw_run(one)
    assert [len(axes.collections) for axes in drawn[1].axes] == [2, 2, 2]  # dots and a band
    # Why the model may lie above the dotted line stands in one line of the picture.
    assert [t.get_text() for t in drawn[1].texts][1].endswith(
        "The model is not told which have it, and may lie above"
    )
    assert len(drawn[1].axes[0].collections[0].get_offsets()) == len(gene_figure.enough(genes()))
    text = report.report([one, two, three], tmp_path / "out").read_text()
    assert "![errors per gene](gene_errors.png)" in text
    assert [len(axes.collections) for axes in drawn[3].axes] == [2, 2, 2]  # two bands
    assert [t.get_text() for t in drawn[3].legends[0].get_texts()] == ["one", "two"]
    # Without a gene that counts there is nothing to draw.
    genes().assign(n_detected=3).to_csv(three / "gene_errors.tsv", sep="\t", index=False)
    report.draw_run(three)
    assert len(drawn) == 5


def test_medians_are_of_neighbours():
    x = np.arange(140.0)
    y = np.where(x == 3, np.nan, 2 * x)
    middle, median, quarter, three = gene_figure.medians(x[::-1], y[::-1])
    assert len(middle) == 13  # 139 known genes, ten or more in a bin
    np.testing.assert_allclose(median, 2 * middle)
    np.testing.assert_allclose(middle[-1], np.median(x[-10:]))
    assert (quarter < median).all()
    assert (median < three).all()
    assert gene_figure.medians([1.0, 2.0], [3.0, np.nan]).tolist() == [[1], [3], [3], [3]]
    assert gene_figure.medians([], []).shape == (4, 0)


def test_pictures_are_the_same_each_time(tmp_path):
    run = written(tmp_path / "run")
    genes().to_csv(run / "gene_errors.tsv", sep="\t", index=False)
    made = []
    for _ in range(2):
        report.draw_run(run)
        made.append([(run / f"{n}.png").read_bytes() for n in ("curves", "gene_errors")])
    assert made[0] == made[1]
