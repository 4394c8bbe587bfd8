"""What a run is made with: processor, memory, versions; and the environment of a stage's process."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from penchant.machine import cores, memory_limit
from penchant.runtime.processor import bf16_units, cpuinfo

__all__ = ["cpu_name", "describe", "stage_environment", "versions"]

_LIBRARIES = (
    *("penchant", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "pydantic"),
    *("rensa", "pycodestyle", "matplotlib"),
)


def cpu_name() -> str:
    """The processor's name."""
    for line in cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of the libraries that results depend on, read without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe(threads: Mapping[str, int]) -> dict[str, Any]:
    """What `environment.json` holds."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_bytes": memory_limit(),
        "bf16_units": bf16_units(),
        "versions": versions(),
        "git": _git(),
        "threads": dict(threads),
    }


def _git() -> dict[str, Any] | None:
    """Revision of the working directory's repository, if it is one."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL
        ).stdout.strip()

    try:
        return {"revision": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def stage_environment(threads: int) -> dict[str, str]:
    """Environment of a stage's process: exactly its threads, and nothing that changes its bits by chance."""
    count = str(threads)
    found = dict(os.environ)
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB"):
        found[f"{name}_NUM_THREADS" if name != "VECLIB" else "VECLIB_MAXIMUM_THREADS"] = count
    found |= {
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "PYTHONHASHSEED": "0",  # the order of sets must not differ when a stage goes on in a new process
        "TOKENIZERS_PARALLELISM": "false",
    }
    found.setdefault("HF_HUB_OFFLINE", "1")  # no network unless the user asks for it
    return found
