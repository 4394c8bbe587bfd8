"""How far stated probabilities are from what happens: expected calibration error and Brier score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["brier", "expected_calibration_error"]


def brier(probability: Sequence[float] | np.ndarray, outcome: Sequence[float] | np.ndarray) -> float:
    """Mean of (p - y)^2; y in [0, 1] (Brier 1950). NaN where there is nothing."""
    p, y = np.asarray(probability, float), np.asarray(outcome, float)
    return float(((p - y) ** 2).mean()) if len(p) else float("nan")


def expected_calibration_error(
    probability: Sequence[float] | np.ndarray, outcome: Sequence[float] | np.ndarray, bins: int = 10
) -> float:
    """Mean distance between stated and observed share, over equal bins of p, weighed by their size (Guo et al. 2017,
    eq. 3). NaN where there is nothing.
    """
    p, y = np.asarray(probability, float), np.asarray(outcome, float)
    if not len(p):
        return float("nan")
    place = np.minimum((p * bins).astype(int), bins - 1)
    sizes = np.bincount(place, minlength=bins)
    gaps = np.abs(np.bincount(place, p, bins) - np.bincount(place, y, bins))
    return float(gaps.sum() / sizes.sum())
