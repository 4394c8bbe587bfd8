"""Each of these tests has a working directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(own_folder: Path) -> Path:
    """An empty working directory, and an environment without options."""
    return own_folder
