"""What a run would do and cost, before it is done."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penchant.machine import cores
from penchant.runs.choose import taken_folder
from penchant.runs.recipe import Recipe
from penchant.runs.refusal import feeds_of
from penchant.runs.resolved import fingerprints, resolved_threads

__all__ = ["FIGURES", "plan"]

FIGURES = ("parameters", "tokens", "memory", "disk", "seconds")


def plan(recipe: Recipe, only: list[str] | None = None, redo: tuple[str, ...] = ()) -> dict[str, Any]:
    """Folder, and for each stage its state and the figures that its `plan(options, context)` foretells.

    The total time is that of the same schedule that the run will have, unfinished stages only.
    """
    run = taken_folder(recipe)
    threads = resolved_threads(recipe, run)
    prints = fingerprints(recipe, threads)
    again = [] if run.going_on(redo, prints) else recipe.dependents(redo)
    rows: dict[str, dict[str, Any]] = {}
    for name in recipe.ancestors(list(recipe.stages) if only is None else only):
        stage = recipe.stages[name]
        state = "run" if name in again else run.state(name, prints[name])
        figures = _figures(recipe, name, run.place(name).attempt, threads[name], run)
        rows[name] = {"kind": stage.kind, "threads": threads[name], "state": state, **figures}
    left = {name: row.get("seconds") or 0.0 for name, row in rows.items() if row["state"] != "up to date"}
    total = {
        "seconds": round(_makespan(recipe, left, threads), 1),
        "memory": max((row.get("memory") or 0 for row in rows.values()), default=0) or None,
        "disk": sum(row.get("disk") or 0 for row in rows.values()) or None,
        "tokens": sum(row.get("tokens") or 0 for row in rows.values()) or None,
    }
    return {"run_dir": str(run.path), "stages": rows, "total": total}


def _figures(recipe: Recipe, name: str, folder: Path, threads: int, run: Any) -> dict[str, Any]:
    stage = recipe.stages[name]
    foretell = getattr(stage.module, "plan", None)
    if foretell is None:
        return {}
    from penchant.contracts import StageContext

    inputs = {r: run.stage(f) if f in recipe.stages else Path(f) for r, f in stage.inputs.items()}
    feeds = feeds_of(stage, recipe.stages)
    context = StageContext(name, folder, inputs, recipe.seed, threads, lambda: 0, lambda text: None, feeds)
    found: Mapping[str, Any] = foretell(stage.options, context)
    return {key: found[key] for key in FIGURES if key in found}


def _makespan(recipe: Recipe, left: Mapping[str, float], threads: Mapping[str, int]) -> float:
    """Seconds that the stages take together, started as the executor starts them."""
    limit, now = cores(), 0.0
    running: list[tuple[float, str]] = []
    waiting, done = list(left), set(recipe.stages) - set(left)
    while waiting or running:
        for name in list(waiting):
            needs = {feeder for feeder in recipe.stages[name].inputs.values() if feeder in recipe.stages}
            used = sum(threads[other] for _, other in running)
            if needs <= done and (used == 0 or used + threads[name] <= limit):
                waiting.remove(name)
                heapq.heappush(running, (now + left[name], name))
        if not running:
            break  # stages outside `only`
        now, name = heapq.heappop(running)
        done.add(name)
    return now
