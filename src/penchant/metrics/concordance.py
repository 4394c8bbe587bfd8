"""How often what people rate higher is scored higher: of two classes the AUC, of grades its generalisation.

Of all pairs of texts that people rate differently, the share in which the score has the same order, a tie counting half
(Harrell et al. 1982, "Evaluating the yield of medical tests"; for two classes Hanley and McNeil 1982). One half is
chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penchant.metrics.intervals import draws, percentiles

__all__ = ["concordance"]


def concordance(
    score: Sequence[float] | np.ndarray, rating: Sequence[float] | np.ndarray, resamples: int = 1000
) -> tuple[float | None, float | None, float | None]:
    """The value with a 95 % bootstrap interval over texts; None where no two texts are rated differently.

    Args:
        score, rating: [texts]; time and memory grow with their square.
    """
    s, y = np.asarray(score, float), np.asarray(rating, float)
    above = (y[:, None] > y[None, :]).astype(np.float32)
    if not above.any():
        return None, None, None
    gap = s[:, None] - s[None, :]
    right = above * ((gap > 0) + 0.5 * (gap == 0)).astype(np.float32)
    if resamples == 0:
        return float(right.sum(dtype=float) / above.sum(dtype=float)), None, None
    often = draws(len(s), resamples).astype(np.float32)
    tops, bottoms = (((often @ matrix) * often).sum(1, dtype=float) for matrix in (right, above))
    drawn = np.divide(tops, bottoms, out=np.full(resamples, np.nan), where=bottoms > 0)
    return float(right.sum(dtype=float) / above.sum(dtype=float)), *percentiles(drawn)
