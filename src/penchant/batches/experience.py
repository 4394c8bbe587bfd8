"""What was sampled and how it was judged: joined, thinned out, and kept on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.batches.scoring import Scored
from penchant.files import append_json_lines, writing
from penchant.records import Completion, Prompt

__all__ = ["Experience", "keep"]


@dataclass(frozen=True)
class Experience:
    """Completions of prompts, judged."""

    prompts: list[Prompt]
    completions: list[Completion]
    scored: Scored
    credits: list[int]

    def join(self, other: Experience) -> Experience:
        """These and more."""
        scored = self.scored.join(other.scored)
        return Experience(
            self.prompts + other.prompts, self.completions + other.completions, scored, self.credits + other.credits
        )

    def take(self, groups: np.ndarray, samples: int) -> Experience:
        """Some of the groups."""
        chosen = (groups[:, None] * samples + np.arange(samples)).reshape(-1)
        lists = ([values[i] for i in chosen] for values in (self.prompts, self.completions, self.credits))
        prompts, completions, credits = lists
        return Experience(prompts, completions, self.scored.take(chosen), credits)  # type: ignore[arg-type]


def _json(completion: Completion) -> str:
    return json.dumps(list(completion.messages), ensure_ascii=False)


def keep(folder: Path, step: int, found: Experience, advantages: np.ndarray) -> None:
    """Write a rollout to `rollouts/STEP.parquet`, and its best completion to `samples.jsonl`."""
    reward, prompts, completions = found.scored.reward, found.prompts, found.completions
    table = pa.table(
        {
            "source": [p.source for p in prompts],
            "prompt": [p.text for p in prompts],
            "completion": [c.text for c in completions],
            "stop": [c.stop for c in completions],
            **({"messages": [_json(c) for c in completions]} if any(c.messages for c in completions) else {}),
            "reward": reward,
            **{f"rewards.{name}": values for name, values in found.scored.parts.items()},
            "advantage": advantages,
        }
    )
    with writing(folder / "rollouts" / f"{step}.parquet") as handle:
        pq.write_table(table, handle, compression="zstd")
    best = int(np.nanargmax(reward)) if not np.isnan(reward).all() else 0
    row = {
        "step": step,
        "prompt": prompts[best].text,
        "text": completions[best].text,
        "reward": float(reward[best]),
    }
    append_json_lines(folder / "samples.jsonl", [row])
