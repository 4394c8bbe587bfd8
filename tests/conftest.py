"""What tests of several rooms share: a folder of their own, recipes of the counting stage, `penchant` as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

# A shell starts what runs in its background with Ctrl-C ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of processes import the package: without compiled files each spends a fifth of its start on compiling.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

STAGE = str(Path(__file__).with_name("counting.py"))


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without options."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("PENCHANT_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def chain() -> dict[str, Any]:
    """a -> b -> c."""
    return {
        "name": "chain",
        "seed": 5,
        "stages": {
            "a": {"kind": STAGE, "threads": 1},
            "b": {"kind": STAGE, "threads": 1, "inputs": {"in": "a"}},
            "c": {"kind": STAGE, "threads": 1, "inputs": {"in": "b"}},
        },
    }


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Write a recipe file."""

    def write(recipe: dict[str, Any]) -> str:
        path = tmp_path / f"{recipe['name']}.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return path.name

    return write


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Start:
    """Start `penchant ...` as a process of its own."""

    def begin(*words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "penchant", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )

    return begin


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """A small random decoder of any shape."""
    from penchant.models.config import DecoderConfig
    from penchant.models.decoder import Decoder

    def make(seed: int = 1, **changes: Any) -> Decoder:
        sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        config = DecoderConfig(**(sizes | {"num_key_value_heads": 2, "initializer_range": 0.2} | changes))
        return Decoder(config).initialise(seed)

    return make
