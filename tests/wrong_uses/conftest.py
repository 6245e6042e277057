"""The folder of good and bad files that all wrong uses share."""

import pytest

from tests.wrong_uses import things


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("things")
    things.make(made)
    return made
