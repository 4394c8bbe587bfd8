"""Cluster bootstrap: intervals and paired tests for figures whose items come in groups (fragments of a file).

Whole clusters are drawn with replacement, as many as there are, and the figure is made again from each draw
(Davison and Hinkley 1997, "Bootstrap Methods and Their Application", section 3.8); an interval is the span between
percentiles of those. Items of one file are alike, so drawing items would make intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Difference",
    "Interval",
    "draws",
    "paired_difference",
    "paired_ratio_difference",
    "percentiles",
    "ratio_interval",
]

Transform = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: the figure of all items; None where there is none (nothing to divide by).
        low, high: its interval; None with fewer than two clusters, where none can be had.
        n: items.
        files: clusters.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    files: int

    def json(self) -> dict[str, Any]:
        """As in `evaluation.json`."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "files": self.files}


@dataclass(frozen=True, slots=True)
class Difference:
    """`b - a` on the same clusters, its interval, and the two-sided p of no difference (None: cannot be had)."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def draws(clusters: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each cluster is drawn in each resample: float64 [resamples, clusters], rows sum to `clusters`."""
    if clusters == 0:
        return np.zeros((resamples, 0))
    return np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(float)


def percentiles(values: np.ndarray, level: float = 0.95) -> tuple[float | None, float | None]:
    """The span that holds the middle `level` of resampled figures; those that are not finite are left out."""
    kept = values[np.isfinite(values)]
    if len(kept) == 0:
        return None, None
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio_interval(
    num: Sequence[float] | np.ndarray,
    den: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    transform: Transform | None = None,
) -> Interval:
    """Interval of sum(num) / sum(den), or of a function of it.

    Args:
        num, den: [items]; a mean has ones for `den`.
        clusters: [items], the file that each item comes from.
        transform: applied to ratios (an array), `np.exp` for a perplexity.
    """
    names = sorted(set(clusters))
    tops, bottoms = _sums(num, clusters, names), _sums(den, clusters, names)
    value = _ratio(tops.sum(keepdims=True), bottoms.sum(keepdims=True), transform)[0]
    low = high = None
    if len(names) > 1:
        drawn = draws(len(names), resamples, seed)
        low, high = percentiles(_ratio(drawn @ tops, drawn @ bottoms, transform), level)
    return Interval(_finite(value), low, high, len(clusters), len(names))


def paired_ratio_difference(
    a: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray, Sequence[str]],
    b: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray, Sequence[str]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    transform: Transform | None = None,
) -> Difference:
    """Paired cluster bootstrap of ratio(b) - ratio(a): both sides are drawn with the same clusters each time.

    Args:
        a, b: (num, den, clusters), each [items]; the two may differ in their items.
    """
    names = sorted({*a[2], *b[2]})
    drawn = draws(len(names), resamples, seed)
    sides = []
    for num, den, clusters in (a, b):
        tops, bottoms = _sums(num, clusters, names), _sums(den, clusters, names)
        whole = _ratio(tops.sum(keepdims=True), bottoms.sum(keepdims=True), transform)
        sides.append(np.concatenate([whole, _ratio(drawn @ tops, drawn @ bottoms, transform)]))
    gaps = sides[1] - sides[0]
    return paired_difference(gaps[0], gaps[1:] if len(names) > 1 else gaps[:0], level)


def paired_difference(difference: float, resampled: np.ndarray, level: float = 0.95) -> Difference:
    """The interval and the two-sided p of a difference from its resamples.

    p is twice the share of resamples on the far side of 0, one added above and below so that it is never 0
    (Davison and Hinkley 1997, section 4.2).
    """
    value = _finite(difference)
    kept = resampled[np.isfinite(resampled)]
    if value is None or len(kept) == 0:
        return Difference(value, None, None, None)
    low, high = percentiles(kept, level)
    smaller = min(int((kept <= 0).sum()), int((kept >= 0).sum()))
    return Difference(value, low, high, min(1.0, 2 * (1 + smaller) / (len(kept) + 1)))


def _sums(values: Sequence[float] | np.ndarray, clusters: Sequence[str], names: list[str]) -> np.ndarray:
    """Sum of the items of each cluster: float64 [clusters]."""
    place = {name: i for i, name in enumerate(names)}
    at = np.fromiter((place[c] for c in clusters), np.int64, len(clusters))
    return np.bincount(at, np.asarray(values, float), minlength=len(names)) if len(at) else np.zeros(len(names))


def _ratio(num: np.ndarray, den: np.ndarray, transform: Transform | None) -> np.ndarray:
    ratio = np.divide(num, den, out=np.full(len(num), np.nan), where=den > 0)
    return ratio if transform is None else transform(ratio)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
