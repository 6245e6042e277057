"""The real pipeline under a step: what is measured of it."""

import pytest

from jaxcell.bench import end_to_end
from tests.conftest import config_of


def test_steps_alone_and_with_their_batches_are_timed(store, capsys):
    c = config_of("txfm_b:tiny")
    found = end_to_end.measure(c, store.path, 8, 3)
    assert set(found) == {"step_s", "pipeline_s", "busy", "waited_s", "cells_per_s"}
    assert found["busy"] == found["step_s"] / found["pipeline_s"]
    assert found["cells_per_s"] == 8 / found["pipeline_s"]
    assert 0 <= found["waited_s"] < found["pipeline_s"]
    assert f"{store.sizes['train']} cells, 8 a step" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        end_to_end.measure(config_of("txfm_b:tiny"), tmp_path / "nowhere", 8, 3)
