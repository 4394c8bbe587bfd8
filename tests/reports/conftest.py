"""A made-up run, once for all tests of the report that do not change it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fakes import fake_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a finished run, and its report's inputs."""
    folder = tmp_path_factory.mktemp("run")
    return folder, fake_run(folder)
