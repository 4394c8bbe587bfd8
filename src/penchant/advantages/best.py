"""Expert iteration: the best samples of each prompt are worth 1, the others are left out (Anthony et al. 2017)."""

from __future__ import annotations

import numpy as np

__all__ = ["best_of_group"]


def best_of_group(rewards: np.ndarray, keep: int = 1, least: float | None = None) -> np.ndarray:
    """1 for the `keep` highest rewards of each group (the first of equal ones), NaN for the others.

    Args:
        rewards: float [groups, samples]; NaN where a reward gave no verdict.
        least: rewards below are never kept.

    Returns:
        float32 [groups, samples].
    """
    filled = np.where(np.isnan(rewards), -np.inf, rewards)
    order = np.argsort(-filled, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    kept = (rank < keep) & np.isfinite(filled)
    if least is not None:
        kept &= filled >= least
    return np.where(kept, 1.0, np.nan).astype(np.float32)
