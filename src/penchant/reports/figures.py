"""`report.json`: every figure of a run in one place."""

from __future__ import annotations

import math
from typing import Any

from penchant.reports.gather import Material, Training
from penchant.reports.wanted import judge_wanted

__all__ = ["figures", "wall_seconds"]

_KINDS = ("prepare", "tokenizer", "pretrain", "tune", "evaluate", "report")
_MINUTES = (8, 12)  # with and without bf16 units


def figures(material: Material, report_seconds: float, time_limit: float | None = None) -> dict[str, Any]:
    """Everything that `report.json` holds.

    Args:
        report_seconds: what the report itself has taken so far, since no file can know it yet.
        time_limit: seconds that the whole run may take; 0 for none, None for the default of its machine.
    """
    times = wall_seconds(material.timing, report_seconds)
    limit = _default_limit(material) if time_limit is None else time_limit
    return clean(
        {
            "models": material.models,
            "paired": material.evaluation.get("paired") or [],
            "measures": material.evaluation.get("measures") or {},
            "wanted": judge_wanted(material.models, times["total"], limit),
            "wall_seconds": times,
            "training": {role: _training(stage) for role, stage in material.training.items()},
            "data": material.data,
            "settings": {
                "evaluation": material.evaluation.get("settings") or {},
                "recipe": material.recipe,
                "environment": material.environment,
            },
        }
    )


def wall_seconds(timing: dict[str, Any], report_seconds: float) -> dict[str, float | None]:
    """Seconds by kind of stage. Models are pretrained at once, so that takes as long as its longest stage."""
    stages = timing.get("stages") or {}
    times: dict[str, float | None] = {}
    for kind in _KINDS:
        taken = [s["seconds"] for s in stages.values() if s.get("kind") == kind and s.get("seconds") is not None]
        times[kind] = None if not taken else max(taken) if kind == "pretrain" else round(sum(taken), 3)
    earlier = times["report"] or 0.0  # a report made again: the old one's time is in the total, ours is not
    times["report"] = round(report_seconds, 3)
    total = timing.get("total")
    times["total"] = None if total is None else round(total - earlier + report_seconds, 3)
    return times


def clean(value: Any) -> Any:
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _training(stage: Training) -> dict[str, Any]:
    found: dict[str, Any] = dict(stage.summary)
    for name, metric in {
        "final_loss": "loss",
        "final_eval_loss": "eval_loss",
        "final_bits_per_byte": "bits_per_byte",
        "tokens": "num_tokens",
        "content_tokens": "content_tokens",
        "final_reward": "reward",
        "final_eval_reward": "eval_reward",
        "final_kl": "kl",
        "final_entropy": "entropy",
        "final_mean_length": "completions/mean_length",
    }.items():
        _, values = stage.series(metric)
        if values:
            found.setdefault(name, values[-1])
    steps = [row["step"] for row in stage.rows if isinstance(row.get("step"), int)]
    found.setdefault("steps", max(steps) if steps else 0)
    if seconds := stage.seconds():
        found["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
    passes = {name: stage.series(name)[1][-1] for row in stage.rows for name in row if name.startswith("eval_pass@")}
    found |= {f"final_{name}": value for name, value in passes.items()}
    losses = stage.series("eval_loss")[1]
    if losses:
        found.setdefault("best_eval_loss", min(losses))
    return found


def _default_limit(material: Material) -> float:
    """The quickstart promises a time; other recipes do not."""
    if material.recipe.get("name") != "quickstart":
        return 0
    machine = material.environment.get("bf16", material.environment.get("bf16_units"))
    fast = machine.get("fast", machine.get("usable", True)) if isinstance(machine, dict) else machine
    return 60 * _MINUTES[0 if fast in (None, True) else 1]
