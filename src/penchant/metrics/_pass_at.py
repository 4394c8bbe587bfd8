"""pass@k: the share of prompts of which at least one of k samples passes."""

from __future__ import annotations

from math import comb

import numpy as np

__all__ = ["pass_at"]


def pass_at(passed: np.ndarray, k: int) -> float:
    """1 - C(n - c, k) / C(n, k) in the mean over prompts, without bias for k <= n (Chen et al. 2021, eq. 1).

    Args:
        passed: bool [prompts, n], whether each sample passes.

    Raises:
        ValueError: k is above n, or below 1.
    """
    n = passed.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples")
    return float(np.mean([1 - comb(n - int(c), k) / comb(n, k) for c in passed.sum(1)]))
