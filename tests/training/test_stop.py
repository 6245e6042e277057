"""What Ctrl-C and SIGTERM do to a run: before, within and behind its steps."""

import signal
import threading

import pytest

from jaxcell import interrupts
from jaxcell.training import loop
from jaxcell.training.stop import Stop
from tests.training.test_training import tiny


@pytest.fixture(autouse=True)
def _ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background
    yield
    signal.signal(signal.SIGINT, before)


def press(number=signal.SIGINT):
    signal.raise_signal(number)


def test_ctrl_c_waits_only_where_a_step_is_to_be_saved():
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        with pytest.raises(KeyboardInterrupt):
            press()
        assert stop.at(1)
    with Stop() as stop:
        assert not stop.at(1)
        stop.saves = True
        press()
        assert stop.at(2)
        with pytest.raises(KeyboardInterrupt):
            press()  # a second one ends at once
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_an_earlier_call_heard_is_forgotten_but_not_on_the_command_line():
    interrupts.hear()
    with Stop() as stop:
        assert not stop.at(1)

    def swallowed():
        with interrupts.listening():
            interrupts.hear()
            with Stop():
                raise AssertionError("the run began")

    with pytest.raises(KeyboardInterrupt):
        swallowed()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_a_thread_of_a_user_it_only_asks():
    found = []

    def run():
        with Stop() as stop:
            found.append(stop.at(1))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.mark.slow
def test_asked_at_the_last_step_a_run_leaves_its_closing_work_to_the_next(store, tmp_path):
    c = tiny(store)
    found = tmp_path / "gene_errors.tsv"
    last = lambda step: step == c.steps and press(signal.SIGTERM)
    assert not loop.train(c, tmp_path, last)
    assert not found.exists()
    assert loop.train(c, tmp_path)
    assert found.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_in_the_closing_work(number, store, tmp_path, monkeypatch):
    c = tiny(store)
    plain = loop.gene_errors.write

    def write(*given):
        plain(*given)
        press(number)

    monkeypatch.setattr(loop.gene_errors, "write", write)
    if number == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            loop.train(c, tmp_path)
    else:
        assert not loop.train(c, tmp_path)
    assert (tmp_path / "gene_errors.tsv").exists()
    assert not (tmp_path / "curves.png").exists()
    assert loop.train(c, tmp_path)
    assert (tmp_path / "curves.png").exists()
