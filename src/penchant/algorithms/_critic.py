"""Credit a token at a time from a value head: what A2C, PPO and REINFORCE with a learned baseline share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    """

    def __init__(self, gamma: float, lam: float, whiten: bool, kl_in_reward: float = 0.0):
        self.gamma, self.lam, self.whiten, self.kl_in_reward = gamma, lam, whiten, kl_in_reward

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return ("old_values", "old_logprobs", "reference_logprobs") if self.kl_in_reward else ("old_values",)

    def __call__(self, batches: Sequence[Batch]) -> list[Batch]:
        """A completion's labels are its steps; what follows the last one is worth nothing, cut or not."""
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
        if action is None or not len(action):
            return gae(rewards, values, ends, self.gamma, self.lam)
        # An action of several tokens is one step: its rewards together, its value where it begins.
        last = ends | np.append(action[1:] != action[:-1], True)
        first = np.append(True, last[:-1])
        starts, number = np.flatnonzero(first), np.cumsum(first) - 1
        found = gae(np.add.reduceat(rewards, starts), values[starts], ends[last], self.gamma, self.lam)
        return found[0][number], found[1][number]


def algorithm(objective: Any, options: Any, critic: Critic, **more: Any) -> Algorithm:
    """An algorithm that is credited by a critic."""
    return _on_policy.algorithm(objective, options, credit=critic, needs=critic.needs, heads={"value": 1}, **more)
