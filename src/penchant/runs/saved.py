"""A run that was made before, as a recipe again: with the options it had, and those that are given now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from penchant.errors import InputError
from penchant.options import Given, from_arguments
from penchant.runs.layout import RunFolder
from penchant.runs.recipe import Recipe, load_recipe

__all__ = ["saved_recipe"]

_SAVED = "command"  # the origin of what a recipe given as a mapping says


def saved_recipe(path: Path, kind: str, settings: Sequence[str] = ()) -> tuple[Recipe, str | None]:
    """The recipe of a run folder, and the name of its last stage of a kind.

    Raises:
        InputError: nothing ran there.
    """
    saved = RunFolder(path).recipe()
    if saved is None:
        raise InputError("is no run folder (it has no recipe.json)", "give the folder of a run", file=path)
    stages = {
        name: {
            **stage["options"],
            "kind": stage["kind"],
            "inputs": stage["inputs"],
            "threads": stage["threads"],
        }
        for name, stage in saved["stages"].items()
    }
    main = next((name for name in reversed(list(stages)) if stages[name]["kind"] == kind), None)
    content = {"name": saved["name"], "seed": saved["seed"], "run_dir": str(path), "stages": stages}
    givens: list[str | Given] = list(from_arguments(settings))
    recipe = load_recipe(content, givens, environment={}, main=main)
    before = saved.get("origins", {})
    given = {key: origin for key, origin in recipe.origins.items() if origin != _SAVED}
    origins = {**before, **{key: origin for key, origin in given.items() if origin != "default" or key not in before}}
    return replace(recipe, origins=origins, source=saved.get("source", "")), main
