"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["ScheduleName", "factor"]

ScheduleName = Literal["constant", "linear", "cosine", "wsd"]


def factor(name: ScheduleName, step: int, steps: int, warmup: float = 0.05, decay: float = 0.2) -> float:
    """What the learning rate is multiplied by at `step` (0-based) of `steps`.

    Args:
        name: constant, linear (to 0), cosine (to 0), or wsd: warm-up, stable, linear decay (Hu et al. 2024).
        warmup: share of the steps over which the rate grows linearly.
        decay: share of the steps over which wsd decays.
    """
    rising = max(1, round(warmup * steps)) if warmup else 0
    if step < rising:
        return (step + 1) / rising
    left = (steps - step) / max(1, steps - rising)
    if name == "linear":
        return left
    if name == "cosine":
        return 0.5 * (1 - math.cos(math.pi * left))
    if name == "wsd":
        return min(1.0, (steps - step) / max(1, round(decay * steps)))
    return 1.0
