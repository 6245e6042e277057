"""kill -9 at any call of prepare, train, embed and convert: the same command mends all."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.knocks.faults import start

KILLS = 5


def killed(library, folder, verb):
    """What was wrong after each kill of a verb."""
    folder.mkdir()
    for _ in range(KILLS):
        process = start(library, "killed", folder, verb, 0, KILLS)
        said = process.communicate()[1]
        assert process.returncode == -signal.SIGKILL, f"{verb}: {said[-3000:]}"
    process = start(library, "killed", folder, verb, 0, KILLS)
    said = process.communicate()[1]
    assert process.returncode == 0, f"{verb}: {said[-3000:]}"
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_five_kills_of_each(library, tmp_path):
    verbs = ("train", "prepare", "embed", "convert")
    with ThreadPoolExecutor(2) as two:
        found = two.map(lambda verb: killed(library, tmp_path / verb, verb), verbs)
        assert dict(zip(verbs, found, strict=True)) == {verb: [[]] * KILLS for verb in verbs}
