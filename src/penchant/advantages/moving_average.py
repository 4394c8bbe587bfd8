"""Rewards against a moving average of earlier ones (REINFORCE with a baseline; Williams 1992, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["MovingAverage"]


class MovingAverage:
    """r - b; b follows the mean reward of each step afterwards, so that it does not depend on the step's own samples.

    Before the first step b is 0.

    Args:
        decay: b <- decay b + (1 - decay) mean, corrected for its start at nothing.
    """

    def __init__(self, decay: float = 0.9):
        self.decay, self.sum, self.weight = decay, 0.0, 0.0

    def __call__(self, rewards: np.ndarray) -> np.ndarray:
        """float32 [groups, samples]; NaN (no verdict) gets 0."""
        known = ~np.isnan(rewards)
        baseline = self.sum / self.weight if self.weight else 0.0
        if known.any():
            self.sum = self.decay * self.sum + (1 - self.decay) * float(rewards[known].mean())
            self.weight = self.decay * self.weight + (1 - self.decay)
        return np.where(known, np.where(known, rewards, 0.0) - baseline, 0.0).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        return {"sum": self.sum, "weight": self.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with an average."""
        self.sum, self.weight = state["sum"], state["weight"]
