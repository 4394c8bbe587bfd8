"""A finished smoke run, once for all tests that do not change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from running import penchant


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = penchant("run", "smoke", f"run_dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder
