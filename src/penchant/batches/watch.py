"""Watches for a reward that rises while what it stands for falls (Goodhart's law; Gao et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["Watch"]


class Watch:
    """Compares the last rollouts with those before.

    Args:
        name: of the metric that is not optimised.
        tell: called with a line when the reward has risen and the metric has fallen, once a rise.
        span: rollouts of each of the two stretches.
    """

    def __init__(self, name: str, tell: Callable[[str], None], span: int = 5):
        self.name, self.tell, self.span = name, tell, span
        self.seen: list[tuple[float, float]] = []
        self.told = 0.0  # the reward at which it was last told

    def add(self, reward: float, metric: float) -> None:
        """One rollout's means; NaN counts nowhere."""
        if not (np.isfinite(reward) and np.isfinite(metric)):
            return
        self.seen = [*self.seen, (reward, metric)][-2 * self.span :]
        if len(self.seen) < 2 * self.span:
            return
        both = np.array(self.seen)
        before, after = both[: self.span], both[self.span :]
        noise = both.std(0) / np.sqrt(self.span)  # of a mean, were nothing to change
        rise, fall = after.mean(0) - before.mean(0)
        if rise > noise[0] and fall < -noise[1] and after[:, 0].mean() > self.told:
            self.told = float(after[:, 0].mean())
            self.tell(
                f"the reward rose from {before[:, 0].mean():.3g} to {self.told:.3g} while {self.name}, which is not "
                f"optimised, fell from {before[:, 1].mean():.3g} to {after[:, 1].mean():.3g}: look at the samples"
            )

    def state_dict(self) -> dict[str, Any]:
        """What was seen."""
        return {"seen": [list(pair) for pair in self.seen], "told": self.told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what was seen."""
        self.seen, self.told = [(a, b) for a, b in state["seen"]], state["told"]
