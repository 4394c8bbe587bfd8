"""What a rollout was like: rewards by name, groups without a difference, lengths, what environments counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from penchant.batches.experience import Experience
from penchant.batches.scoring import Scored
from penchant.records import Completion

__all__ = ["differs", "mean", "statistics", "with_given"]


def mean(values: np.ndarray) -> float:
    """The mean of all verdicts, NaN where there is none."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan


def differs(values: np.ndarray, samples: int) -> np.ndarray:
    """bool [groups]: whether a group of so many has two different verdicts among values [completions]."""
    grouped = values.reshape(-1, samples)
    none = np.isnan(grouped)
    return np.where(none, -np.inf, grouped).max(1) > np.where(none, np.inf, grouped).min(1)


def with_given(scored: Scored, completions: Sequence[Completion]) -> Scored:
    """Rewards with what an environment gave on the way."""
    given = np.array([0.0 if c.rewards is None else c.rewards.sum() for c in completions])
    return scored if not given.any() else dataclasses.replace(scored, reward=scored.reward + given)


def statistics(found: Experience, samples: int) -> dict[str, float]:
    """Metrics of a rollout whose groups have so many completions (names as in TRL where it has them)."""
    scored, completions = found.scored, found.completions
    grouped = scored.reward.reshape(-1, samples)
    known = grouped[~np.isnan(grouped).all(1)]
    by_name: dict[str, float] = {}
    for name, values in scored.parts.items():
        by_name[f"rewards/{name}/mean"] = mean(values)
        by_name[f"rewards/{name}/masked"] = float(np.isnan(values).sum())
        by_name[f"rewards/{name}/failed"] = float(scored.failed[name])
        by_name[f"rewards/{name}/timed_out"] = float(scored.timed_out[name])
    return {
        "reward": mean(grouped),
        "reward_std": mean(np.nanstd(known, 1)) if len(known) else np.nan,
        **by_name,
        "rewards/masked": float(np.isnan(grouped).sum()),
        "frac_reward_zero_std": float((~differs(scored.reward, samples)).mean()),
        "completions/mean_length": float(np.mean([int((~c.forced).sum()) for c in completions])),
        "completions/clipped_ratio": float(np.mean([c.stop == "length" for c in completions])),
        **_counts(completions),
        "completions/judged_share": float(sum(found.credits) / max(1, sum(len(c.text) for c in completions))),
    }


def _counts(completions: Sequence[Completion]) -> dict[str, float]:
    """What environments counted, a completion; calls of tools as TRL names them."""
    names = sorted({name for c in completions for name in c.counts})
    found = {f"environment/{n}": sum(c.counts.get(n, 0.0) for c in completions) / len(completions) for n in names}
    if any(len(c.turns) > 1 for c in completions):
        found["environment/turns"] = float(np.mean([len(c.turns) for c in completions]))
    calls = found.pop("environment/tools/calls", None)
    failed = found.pop("environment/tools/failed", 0.0)
    if calls is not None:
        found |= {"tools/call_frequency": calls, "tools/failure_frequency": failed / max(calls, 1e-9)}
    return found
