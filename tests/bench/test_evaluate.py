import json
import subprocess
import sys

import numpy as np
import pytest

from jaxcell.bench import evaluate


def test_planted_labels_and_batches_are_where_they_are_planted():
    x, labels, batch = evaluate.planted(3000, 32)
    assert x.shape == (3000, 32)
    assert x.dtype == np.float32
    assert len(np.unique(labels)) == evaluate.LABELS
    assert len(np.unique(batch)) == evaluate.BATCHES
    own = labels == "type 0"
    centre, here = x[own].mean(axis=0), x[own & (batch == "batch 0")].mean(axis=0)
    assert np.var(centre) > 5 * np.var(here - centre) > 0.1


@pytest.mark.slow
def test_the_bench_measures_all_steps(tmp_path):
    asked = ["--cells", "2000", "--dims", "24", "--seeds", "1", "--subsample", "1000", "--json"]
    command = [sys.executable, "-m", "jaxcell.bench.evaluate", *asked, tmp_path / "r.json"]
    # A process of its own: the peak is the process's, and these tests' may be anything by now.
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["total_s"] == pytest.approx(found["scib_s"] + found["probe_s"])
    assert found["accuracy"] > 0.8
    assert found["ari"] > 0.3
    assert 0.1 < found["peak_gb"] < 4
    assert "peak_gb" in told.stdout


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--subsample"):
        evaluate.main(["--cells", "10"])
    with pytest.raises(ValueError, match="there is no folder"):
        evaluate.main(["--json", str(tmp_path / "no" / "r.json")])
