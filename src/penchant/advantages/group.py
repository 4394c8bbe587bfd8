"""Rewards against the mean of their own group, divided by (std + a floor) (GRPO; Shao et al. 2024, section 4.1.2)."""

from __future__ import annotations

import numpy as np

__all__ = ["group_advantages"]


def group_advantages(rewards: np.ndarray, floor: float = 0.1) -> np.ndarray:
    """(r - mean) / (std + floor) within each group; NaN (no verdict) counts nowhere and gets 0.

    Args:
        rewards: float [groups, samples]; NaN where a reward gave no verdict.
        floor: keeps groups whose rewards barely differ from being blown up.

    Returns:
        float32 [groups, samples].
    """
    known = ~np.isnan(rewards)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    filled = np.where(known, rewards, 0.0)
    mean = filled.sum(1, keepdims=True) / count
    gap = np.where(known, filled - mean, 0.0)
    std = np.sqrt((gap**2).sum(1, keepdims=True) / count)
    return (gap / (std + floor)).astype(np.float32)
