"""What the README tells contributors is run as it stands there."""

import json
import re
from pathlib import Path

import pytest

import jaxcell
from jaxcell.losses.total import LOSSES
from jaxcell.models.fields import FIELDS
from jaxcell.models.heads import HEADS

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def blocks():
    """The Python of the section, in order; what it adds to tables is gone after the test."""
    section = README.read_text(encoding="utf-8").partition("## Contributing")[2]
    section = section.partition("\n## ")[0]
    kept = [(table, dict(table)) for table in (LOSSES, HEADS, FIELDS)]
    yield re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for table, before in kept:
        table.clear()
        table.update(before)


@pytest.mark.slow
def test_loss_head_field_and_system_of_the_readme_train(blocks, tmp_path):
    names = {}
    for block in blocks:
        assert block.count("\n") <= 30
        exec(block, names)
    store = jaxcell.prepare(tmp_path / "store", "scanpy:pbmc68k_reduced", hold_out_fraction=0.1)
    c = names["get_config"]("tiny")
    c.data.store, c.model.vocabulary, c.steps = str(tmp_path / "store"), len(store.vocabulary), 20
    jaxcell.train(c, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    depths = [one["train/depth"] for one in map(json.loads, lines) if "train/depth" in one]
    assert depths[-1] < depths[0]
