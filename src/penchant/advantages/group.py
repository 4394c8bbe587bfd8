"""Rewards against a baseline of their group or batch, divided by a spread (GRPO; Shao et al. 2024, section 4.1.2)."""

from __future__ import annotations

from typing import Literal

import numpy as np

__all__ = ["Over", "group_advantages"]

Over = Literal["group", "batch", "none"]


def group_advantages(
    rewards: np.ndarray, floor: float = 0.1, scale: Over = "group", baseline: Literal["group", "batch"] = "group"
) -> np.ndarray:
    """(r - mean) / (std + floor); NaN (no verdict) counts nowhere and gets 0.

    Args:
        rewards: float [groups, samples]; NaN where a reward gave no verdict.
        floor: keeps groups whose rewards barely differ from being blown up.
        scale: whose standard deviation divides; `none`: nothing does.
        baseline: whose mean is subtracted.

    Returns:
        float32 [groups, samples].
    """
    known = ~np.isnan(rewards)
    filled = np.where(known, rewards, 0.0)
    mean, _ = _moments(filled, known, baseline)
    gap = np.where(known, filled - mean, 0.0)
    if scale == "none":
        return gap.astype(np.float32)
    own, _ = _moments(filled, known, scale)
    _, std = _moments(np.where(known, filled - own, 0.0), known, scale)
    return (gap / (std + floor)).astype(np.float32)


def _moments(values: np.ndarray, known: np.ndarray, over: Over) -> tuple[np.ndarray, np.ndarray]:
    """Mean and root mean square over each group, or over all."""
    axis = 1 if over == "group" else None
    count = np.maximum(known.sum(axis, keepdims=True), 1)
    return values.sum(axis, keepdims=True) / count, np.sqrt((values**2).sum(axis, keepdims=True) / count)
