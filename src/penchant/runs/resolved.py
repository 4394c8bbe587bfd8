"""What a recipe becomes in its folder: the threads of each stage, and the fingerprints that follow."""

from __future__ import annotations

import os
from pathlib import Path

from penchant.machine import cores
from penchant.runs.fingerprint import fingerprint, folder_hash
from penchant.runs.layout import RunFolder
from penchant.runs.recipe import Recipe
from penchant.runtime.launch import asked_processes

__all__ = ["automatic_threads", "fingerprints", "resolved_threads"]


def resolved_threads(recipe: Recipe, run: RunFolder) -> dict[str, int]:
    """Threads of each stage: as recorded where this run has begun before, so that it goes on with the same bits."""
    saved = run.recipe() or {}
    found = {}
    for name, stage in recipe.stages.items():
        asked = saved.get("stages", {}).get(name, {}).get("threads")
        recorded = saved.get("threads", {}).get(name)
        if recorded is not None and asked == stage.threads:
            found[name] = int(recorded)
        else:
            found[name] = automatic_threads() if stage.threads == "auto" else int(stage.threads)
    return found


def automatic_threads() -> int:
    """Threads of a stage that does not say how many: the cores, or fewer where OMP_NUM_THREADS says so.

    `torchrun` sets that for each of its processes; a stage's threads are those of all of them.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    each = int(asked) if asked.isdigit() else 0
    return min(cores(), each * (asked_processes() or 1)) if each else cores()


def fingerprints(recipe: Recipe, threads: dict[str, int]) -> dict[str, str]:
    """The fingerprint of every stage."""
    from penchant import __version__

    found: dict[str, str] = {}
    for name, stage in recipe.stages.items():
        feeders = {
            role: found[feeder] if feeder in found else folder_hash(Path(feeder))
            for role, feeder in stage.inputs.items()
        }
        found[name] = fingerprint(recipe, stage, threads[name], feeders, __version__)
    return found
