"""What stages would learn from, looked at before anything is trained: the door of `--dry-run` and `penchant doctor`.

A stage module may define `preflight(options, context) -> dict`; it trains nothing and writes into a folder that is
thrown away. (The third door is the start of a stage itself, which looks at the same.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from penchant.contracts import StageContext
from penchant.runs.choose import taken_folder
from penchant.runs.recipe import Recipe
from penchant.runs.resolved import fingerprints, resolved_threads

__all__ = ["preflights"]


def preflights(
    recipe: Recipe, only: Sequence[str] | None = None, note: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Any]]:
    """By stage, what its `preflight` found; `{"waits_for": [...]}` where inputs are still to be made.

    Inputs that a stage says are `QUICK` to make are made, in a folder that is thrown away. Finished stages are not
    looked at.

    Raises:
        PenchantError: what would stop the run.
    """
    run, threads = taken_folder(recipe), resolved_threads(recipe, taken_folder(recipe))
    prints = fingerprints(recipe, threads)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:

        def ready(name: str) -> Path | None:
            """A stage's folder, if it is finished or quickly made."""
            if run.state(name, prints[name]) == "up to date":
                return Path(run.stage(name))
            stage, folder = recipe.stages[name], Path(place, name)
            if not getattr(stage.module, "QUICK", False) or stage.inputs:
                return None
            if not folder.is_dir():
                folder.mkdir()
                stage.module.run(stage.options, context(name, folder, {}))
            return folder

        def context(name: str, folder: Path, inputs: dict[str, Path]) -> StageContext:
            return StageContext(name, folder, inputs, recipe.seed, threads[name], lambda: 0, note)

        for name in recipe.ancestors(list(recipe.stages) if only is None else list(only)):
            stage = recipe.stages[name]
            look = getattr(stage.module, "preflight", None)
            if look is None or run.state(name, prints[name]) == "up to date":
                continue
            inputs = {r: ready(f) if f in recipe.stages else Path(f) for r, f in stage.inputs.items()}
            missing = [stage.inputs[role] for role, folder in inputs.items() if folder is None]
            if missing:
                found[name] = {"waits_for": missing}
                continue
            mine = Path(place, f"{name}.preflight")
            mine.mkdir()
            there = {role: folder for role, folder in inputs.items() if folder is not None}
            found[name] = look(stage.options, context(name, mine, there))
    return found
