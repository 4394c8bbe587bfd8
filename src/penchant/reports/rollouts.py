"""What a tuned model wrote while it was tuned: the best, the typical and the worst of its last rollout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Rollout", "last_rollout"]

_PROMPT, _TEXT = 400, 1200  # characters shown of a prompt's end, and of a completion


@dataclass(frozen=True)
class Rollout:
    """A completion of a rollout.

    Attributes:
        kind: best, typical (of the median reward) or worst.
        parts: each reward by name; None where it gave no verdict.
        cut: characters that are not shown.
    """

    step: int
    kind: str
    prompt: str
    text: str
    reward: float
    parts: dict[str, float | None]
    cut: int


def last_rollout(folder: Path) -> list[Rollout]:
    """Of a stage's newest `rollouts/STEP.parquet`; nothing where there is none, or no completion got a verdict."""
    files = sorted((folder / "rollouts").glob("*.parquet"), key=lambda path: int(path.stem))
    if not files:
        return []
    import pyarrow.parquet as pq

    table = pq.read_table(files[-1])
    rewards = np.array(table["reward"].to_numpy(), float)
    known = np.flatnonzero(~np.isnan(rewards))
    if not len(known):
        return []
    order = known[np.argsort(rewards[known], kind="stable")]
    chosen = {"best": order[-1], "typical": order[len(order) // 2], "worst": order[0]}
    rows = table.to_pylist()
    return [_shown(int(files[-1].stem), kind, rows[int(i)]) for kind, i in chosen.items()]


def _shown(step: int, kind: str, row: dict[str, Any]) -> Rollout:
    parts = {k.removeprefix("rewards."): v for k, v in row.items() if k.startswith("rewards.")}
    told = {name: None if value is None or np.isnan(value) else float(value) for name, value in parts.items()}
    text, prompt = str(row["completion"]), str(row["prompt"])
    return Rollout(step, kind, prompt[-_PROMPT:], text[:_TEXT], float(row["reward"]), told, max(0, len(text) - _TEXT))
