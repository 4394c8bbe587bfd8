"""How far stated probabilities are from what happens: expected calibration error and Brier score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penchant.metrics.intervals import percentiles

__all__ = ["brier", "expected_calibration_error", "with_intervals"]


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
    return float(np.abs((p - y) @ _in_bins(p, bins)).sum() / len(p)) if len(p) else float("nan")


def with_intervals(
    probability: Sequence[float] | np.ndarray, outcome: Sequence[float] | np.ndarray, often: np.ndarray, bins: int = 10
) -> dict[str, list[float | None]]:
    """`ece` and `brier` as [value, low, high].

    A resample's ECE lies above the sample's by what chance adds to distances, so that its interval does too.

    Args:
        often: [draws, items], see `intervals.draws`.
    """
    p, y = np.asarray(probability, float), np.asarray(outcome, float)
    drawn = often.sum(1)
    far = np.abs(often @ ((p - y)[:, None] * _in_bins(p, bins))).sum(1) / drawn
    return {
        "ece": [expected_calibration_error(p, y, bins), *percentiles(far)],
        "brier": [brier(p, y), *percentiles(often @ (p - y) ** 2 / drawn)],
    }


def _in_bins(p: np.ndarray, bins: int) -> np.ndarray:
    """float [items, bins], 1 where an item lies."""
    return np.eye(bins)[np.minimum((p * bins).astype(int), bins - 1)]
