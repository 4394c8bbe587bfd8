"""The process that a person starts reads options, plans and watches; only the stages' own processes load torch."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

TELL = """
import atexit, sys
from penchant import cli
atexit.register(lambda: print("TORCH" if "torch" in sys.modules else "LIGHT", file=sys.stderr))
cli.main(sys.argv[1:])
"""


def told(*words: str) -> str:
    """What a command says, and whether torch was loaded."""
    done = subprocess.run(
        [sys.executable, "-c", TELL, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("recipe", ["smoke", "quickstart", "prose"])
def test_a_dry_run_needs_no_torch(recipe: str) -> None:
    assert "LIGHT" in told("run", recipe, "--dry-run", "--json", f"data.path={os.path.dirname(os.__file__)}/json")


def test_options_of_every_stage_are_read_without_torch() -> None:
    assert "LIGHT" in told("run", "smoke", "--print-config", "tuned.algorithm_options={beta: 0.2}")


def test_the_parent_of_a_run_needs_no_torch(chain: dict[str, Any], write_recipe: Any) -> None:
    chain["stages"]["c"] |= {"model": True}
    assert "LIGHT" in told("run", write_recipe(chain))


def test_lists_need_no_torch() -> None:
    for kind in ("stages", "objectives", "algorithms", "rewards"):
        assert "LIGHT" in told("list", kind, "--json")
