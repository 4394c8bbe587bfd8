"""Rewards against the mean of the other samples of their prompt (Kool et al. 2019; Ahmadian et al. 2024, eq. 7)."""

from __future__ import annotations

import numpy as np

__all__ = ["leave_one_out"]


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """r_i - mean of r_j, j != i, within each group; NaN (no verdict) counts nowhere and gets 0.

    A sample with no other verdict beside it gets 0: there is nothing to hold it against.

    Args:
        rewards: float [groups, samples].

    Returns:
        float32 [groups, samples].
    """
    known = ~np.isnan(rewards)
    filled = np.where(known, rewards, 0.0)
    others = known.sum(1, keepdims=True) - 1
    mean = (filled.sum(1, keepdims=True) - filled) / np.maximum(others, 1)
    return np.where(known & (others > 0), filled - mean, 0.0).astype(np.float32)
