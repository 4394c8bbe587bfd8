"""Credit a token at a time from a value head: what A2C, PPO and REINFORCE with a learned baseline share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penchant.advantages.gae import gae, whitened
from penchant.algorithms import _on_policy
from penchant.contracts import Algorithm
from penchant.records import Batch

__all__ = ["Critic", "algorithm"]


class Critic:
    """From batches with `rewards` and `old_values` to batches with `advantages` and `returns`.

    Args:
        whiten: advantages over the whole rollout are brought to mean 0 and standard deviation 1.
        kl_in_reward: each token's reward is less that many times old - reference log-prob (Ziegler et al. 2019, eq. 2).
        cut: a completion that a limit cut goes on in value (column `cut` by label).
    """

    def __init__(self, gamma: float, lam: float, whiten: bool, kl_in_reward: float = 0.0, cut: bool = False):
        self.gamma, self.lam, self.whiten, self.kl_in_reward, self.cut = gamma, lam, whiten, kl_in_reward, cut

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return ("old_values", "old_logprobs", "reference_logprobs") if self.kl_in_reward else ("old_values",)

    def __call__(self, batches: Sequence[Batch]) -> list[Batch]:
        """A completion's labels are its steps; what follows the last one is worth nothing, unless it was cut."""
        found = [self._one(batch) for batch in batches]
        advantages = [a for a, _ in found]
        if self.whiten:
            advantages = whitened(advantages)
        return [
            dataclasses.replace(batch, columns={**batch.columns, "advantages": a, "returns": r})
            for batch, a, (_, r) in zip(batches, advantages, found, strict=True)
        ]

    def _one(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        rewards = batch.columns["rewards"]
        if self.kl_in_reward:
            gap = batch.columns["old_logprobs"] - batch.columns["reference_logprobs"]
            rewards = rewards - self.kl_in_reward * gap
        ends = np.append(batch.unit[1:] != batch.unit[:-1], True)[: len(batch.unit)]
        values, action = batch.columns["old_values"], batch.columns.get("action")
        cut = batch.columns["cut"] > 0 if self.cut and "cut" in batch.columns else np.zeros(len(ends), bool)
        if action is None or not len(action):
            return gae(rewards, values, ends, self.gamma, self.lam, cut)
        # An action of several tokens is one step: its rewards together, its value where it begins.
        last = ends | np.append(action[1:] != action[:-1], True)
        first = np.append(True, last[:-1])
        starts, number = np.flatnonzero(first), np.cumsum(first) - 1
        together = np.add.reduceat(rewards, starts)
        found = gae(together, values[starts], ends[last], self.gamma, self.lam, cut[last])
        return found[0][number], found[1][number]


def algorithm(objective: Any, options: Any, critic: Critic, **more: Any) -> Algorithm:
    """An algorithm that is credited by a critic; it says how much of the returns' variance the values explain."""
    found = _on_policy.algorithm(objective, options, credit=critic, needs=critic.needs, heads={"value": 1}, **more)
    inner = found.after_update

    def after(step: int, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return {**explained(metrics), **({} if inner is None else inner(step, metrics))}

    return dataclasses.replace(found, after_update=after)


def explained(metrics: Mapping[str, float]) -> dict[str, float]:
    """`explained_variance` = 1 - var(R - V) / var(R), from means over an update's labels; below 0 a constant is better.

    Nothing where returns do not differ.
    """
    if "returns_squared" not in metrics:
        return {}
    spread = metrics["returns_squared"] - metrics["returns"] ** 2
    rest = metrics["value_error"] - (metrics["values"] - metrics["returns"]) ** 2
    return {"explained_variance": 1 - rest / spread} if spread > 1e-12 else {}
