"""Progress in a terminal, in a notebook, and in a log: by a clock and a stream of our own."""

import io
import itertools
import re
import types

import pytest
from tqdm.auto import tqdm as auto

from jaxcell import processes, progress


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def test_a_log_gets_a_line_a_minute_and_one_at_the_end(clock):
    log = io.StringIO()
    with progress.bar(10_000, "embed", "cell", stream=log, clock=clock) as shown:
        shown.update(0)  # as the first chunk: the rate counts from here on
        for _ in range(1000):
            clock.now += 0.5
            shown.update(10)
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert len(lines) == 9  # after 60, 120 … 480 s, and at 500
    assert lines[0] == "embed: 1,200 of 10,000 cells (12%), 20.0 cells/s, 7 min left"
    assert lines[7] == "embed: 9,600 of 10,000 cells (96%), 20.0 cells/s, 20 s left"
    assert lines[8] == "embed: 10,000 of 10,000 cells (100%), 20.0 cells/s"


def test_short_work_leaves_no_line_in_a_log(clock):
    log = io.StringIO()
    with progress.bar(100, "embed", "cell", stream=log, clock=clock) as shown:
        for _ in range(100):
            clock.now += 0.59
            shown.update()
    assert log.getvalue() == ""


def test_what_was_done_before_and_compiling_count_for_no_rate(clock):
    log = io.StringIO()
    with progress.bar(1000, "train", "step", done=500, stream=log, clock=clock) as shown:
        clock.now += 300  # compiled
        shown.update()
        for _ in range(30):
            clock.now += 2
            shown.update()
        shown.skip(400)
        shown.note("loss 3.1")
        clock.now += 60
        shown.update()
    first, second, third = log.getvalue().splitlines()
    assert first == "train: 501 of 1,000 steps (50%)"
    assert second == "train: 531 of 1,000 steps (53%), 2.0 s/step, 16 min left"
    assert third.startswith("train: 932 of 1,000 steps (93%), 3.9 s/step, 4 min left; loss 3.1")


def test_bytes_are_shown_as_bytes(clock):
    log = io.StringIO()
    shown = progress.bar(3 * 2**30, "verify", "B", stream=log, clock=clock)
    shown.update(0)
    clock.now += 64
    shown.update(2**30)
    assert log.getvalue() == "verify: 1.00GB of 3.00GB (33%), 16.0MB/s, 2 min left\n"


def test_a_terminal_gets_a_bar_with_rate_and_time_left(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(seconds)))
    shell = Terminal()
    with progress.bar(10, "embed", "cell", stream=shell) as shown:
        shown.note("loss 3.1")
        for _ in range(5):
            shown.update()
        told = shell.getvalue().split("\r")[-1]
    assert "embed:  50%" in told
    assert "5.00/10.0 [" in told
    assert "<00:0" in told  # time left
    assert re.search(r"[\d.]+s/cell, loss 3\.1\]", told), told


def test_a_bar_skips_what_was_done_before():
    shell = Terminal()
    with progress.bar(10, "train", stream=shell) as shown:
        shown.skip(4)
        shown.update()
    assert "5/10" in shell.getvalue().split("\r")[-1]


def test_a_log_and_a_bar_say_lines_in_between(capsys):
    for stream in (io.StringIO(), Terminal()):
        with progress.bar(10, "train", stream=stream) as shown:
            shown.say("step 5: validation loss 3")
        assert "step 5: validation loss 3\n" in capsys.readouterr().out


def notebook(monkeypatch, config, widgets):
    shell = types.SimpleNamespace(config=config)
    monkeypatch.setitem(
        progress.sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell)
    )
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: widgets)


def test_a_notebook_with_widgets_gets_its_own_bar(monkeypatch):
    notebook(monkeypatch, {"IPKernelApp": {}}, True)
    with progress.bar(10, "embed", "cell") as shown:
        assert isinstance(shown._bar, auto)


@pytest.mark.parametrize(("config", "widgets"), [({"IPKernelApp": {}}, None), ({}, True)])
def test_a_notebook_without_widgets_and_the_shell_of_ipython_are_as_any(
    config, widgets, monkeypatch
):
    notebook(monkeypatch, config, widgets)
    assert isinstance(progress.bar(10, "embed"), progress.Lines)  # pytest has no terminal
    assert isinstance(progress.bar(10, "embed", stream=Terminal()), progress.Bar)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_is_shown_where_it_is_not_asked_for_or_by_another_process(
    stream, clock, monkeypatch
):
    def run(**how):
        to = stream()
        with progress.bar(10, "embed", stream=to, clock=clock, **how) as shown:
            for _ in range(10):
                clock.now += 100
                shown.update()
                shown.note("loss")
        return to.getvalue()

    assert run() != ""
    assert run(shown=False) == ""
    monkeypatch.setattr(processes, "index", lambda: 1)
    assert run() == ""


def test_work_that_goes_over_everything_several_times_counts_each_once(clock):
    log = io.StringIO()
    with progress.bar(7, "embed", "cell", stream=log, clock=clock) as shown:
        update = shown.shared(3)
        for _ in range(3):
            for n in (3, 3, 1):
                clock.now += 100
                update(n)
    assert log.getvalue().splitlines()[-1].startswith("embed: 7 of 7 cells (100%)")


def test_each_shows_how_many_items_are_done(monkeypatch, clock):
    log = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", log)
    monkeypatch.setattr(progress.time, "monotonic", clock)
    for _ in progress.each("abc", "relations", "method"):
        clock.now += 100
    assert log.getvalue().splitlines() == [
        "relations: 1 of 3 methods (33%)",
        "relations: 2 of 3 methods (67%), 100.0 s/method, 2 min left",
        "relations: 3 of 3 methods (100%), 100.0 s/method",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5990, "1 h 40 min"),
        (11100, "3 h 05 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_time_as_people_say_it(seconds, said):
    assert progress.duration(seconds) == said
