"""Read what the stages of a run left behind; whatever is missing is left out, never invented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penchant.files import read_json, read_json_lines
from penchant.reports.rollouts import Rollout, last_rollout

__all__ = ["Material", "Training", "gather"]

_NOT_TRAINING = ("data", "evaluation", "tokenizer")
_MOST_SCORES = 2_000_000  # a histogram does not gain from more


@dataclass(frozen=True)
class Training:
    """One training stage: its logged rows, and the summary that it ended with."""

    rows: list[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)
    rollouts: list[Rollout] = field(default_factory=list)

    @property
    def tuning(self) -> bool:
        """Whether it learned from rewards."""
        return any("reward" in row for row in self.rows)

    def seconds(self) -> dict[str, float]:
        """Where a tuning's time went: `sampling`, `rewarding`, `training`; nothing where it did not sample."""
        parts = {
            k: sum(self.series(f"{name}_seconds")[1]) for k, name in (("sampling", "sampling"), ("rewarding", "reward"))
        }
        if not any(parts.values()):
            return {}
        whole = sum(self.series("step_seconds")[1])
        return {**parts, "training": max(0.0, whole - sum(parts.values()))}

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of a metric, rows without it left out."""
        kept = [row for row in self.rows if _number(row.get("step")) and _number(row.get(name))]
        return [float(row["step"]) for row in kept], [float(row[name]) for row in kept]


@dataclass(frozen=True)
class Material:
    """Everything that a report is made from.

    Attributes:
        evaluation: `evaluation.json`, empty when nothing was evaluated.
        samples: rows of the evaluation's `samples.jsonl`.
        data: `summary.json` of prepare.
        scores: signal -> every score on the training split (for the histogram).
        training: role -> training stage, in the order of the recipe.
        recipe, environment, timing: the run's own files, empty when the stage stands alone.
    """

    evaluation: dict[str, Any]
    samples: list[dict[str, Any]]
    data: dict[str, Any]
    scores: dict[str, np.ndarray]
    training: dict[str, Training]
    recipe: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """Row -> measure -> figure."""
        return self.evaluation.get("models") or {}


def gather(inputs: Mapping[str, Path], run: Path | None = None) -> Material:
    """Read the folders of finished stages by role, and the run folder's own files where there is one.

    Args:
        inputs: `data`, `evaluation`, and one role for each training stage; each may be missing.
        run: the run folder, for the recipe, the environment and the times.
    """
    data, evaluation = inputs.get("data"), inputs.get("evaluation")
    roles = [role for role in inputs if role not in _NOT_TRAINING and (inputs[role] / "metrics.jsonl").exists()]
    return Material(
        evaluation=_json(evaluation, "evaluation.json"),
        samples=[] if evaluation is None else read_json_lines(evaluation / "samples.jsonl"),
        data=_json(data, "summary.json"),
        scores={} if data is None else _scores(data / "train.parquet"),
        training={role: _training(inputs[role]) for role in roles},
        recipe=_json(run, "recipe.json"),
        environment=_json(run, "environment.json"),
        timing=_json(run, "timing.json"),
    )


def _training(folder: Path) -> Training:
    done = _json(folder, "done.json")
    summary = done.get("summary", done)
    rows = read_json_lines(folder / "metrics.jsonl")
    return Training(rows, summary if isinstance(summary, dict) else {}, last_rollout(folder))


def _json(folder: Path | None, name: str) -> dict[str, Any]:
    if folder is None or not (folder / name).exists():
        return {}
    value = read_json(folder / name)
    return value if isinstance(value, dict) else {}


def _scores(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    found: dict[str, np.ndarray] = {}
    for column in (name for name in file.schema_arrow.names if name.startswith("scores.")):
        parts: list[np.ndarray] = []
        for batch in file.iter_batches(columns=[column]):
            parts.append(batch.column(0).flatten().to_numpy(zero_copy_only=False))
            if sum(map(len, parts)) >= _MOST_SCORES:
                break
        values = np.concatenate(parts) if parts else np.zeros(0)
        found[column.removeprefix("scores.")] = values[np.isfinite(values)]
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
