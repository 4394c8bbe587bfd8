"""Which algorithm should one use? Several of each, over seeds: figures with intervals, paired tests, and a verdict.

Two things vary: the files that prompts come from, and the seeds of training. Both are drawn with replacement in each
resample (Davison and Hinkley 1997, section 3.8), so that an interval holds for another seed on other files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant.metrics.intervals import Difference, draws, paired_difference, percentiles

__all__ = ["Side", "difference", "figure", "verdict"]

SURE = 0.05  # a difference whose p is above is called noise


@dataclass(frozen=True, eq=False)
class Side:
    """One measure of one algorithm.

    Attributes:
        num, den: float [seeds, files]; the figure is sum(num) / sum(den).
    """

    num: np.ndarray
    den: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[Sequence[tuple[str, float, float]]], files: Sequence[str]) -> Side:
        """From (file, numerator, denominator) of each completion of each seed's run."""
        place = {name: i for i, name in enumerate(files)}
        num, den = np.zeros((2, len(runs), len(files)))
        for seed, run in enumerate(runs):
            for name, top, bottom in run:
                num[seed, place[name]] += top
                den[seed, place[name]] += bottom
        return cls(num, den)

    def value(self) -> float:
        """The figure of all; NaN where there is nothing to divide by."""
        return _ratio(self.num.sum(), self.den.sum())

    def by_seed(self) -> list[float]:
        """The figure of each seed's run."""
        return [_ratio(a, b) for a, b in zip(self.num.sum(1), self.den.sum(1), strict=True)]

    def resampled(self, files: np.ndarray, seed: int) -> np.ndarray:
        """The figure in each resample [resamples].

        Args:
            files: how often each file is drawn [resamples, files].
            seed: of the draws of training seeds.
        """
        seeds = draws(len(self.num), len(files), seed)
        top = np.einsum("rs,sf,rf->r", seeds, self.num, files)
        bottom = np.einsum("rs,sf,rf->r", seeds, self.den, files)
        return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0 else float("nan")


def figure(side: Side, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """`{value, low, high, seeds}`; no interval with fewer than two files."""
    count = side.num.shape[1]
    low, high = percentiles(side.resampled(draws(count, resamples, seed), seed + 1)) if count > 1 else (None, None)
    value = side.value()
    return {
        "value": value if np.isfinite(value) else None,
        "low": low,
        "high": high,
        "seeds": [x if np.isfinite(x) else None for x in side.by_seed()],
    }


def difference(a: Side, b: Side, resamples: int = 1000, seed: int = 0) -> Difference:
    """b - a: the same files are drawn for both in each resample, the seeds of training for each by itself."""
    files = draws(a.num.shape[1], resamples, seed)
    gaps = b.resampled(files, seed + 2) - a.resampled(files, seed + 1)
    return paired_difference(b.value() - a.value(), gaps if a.num.shape[1] > 1 else gaps[:0])


def verdict(
    rewards: Mapping[str, Side], seconds: Mapping[str, float], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Which algorithm to take, and why.

    The one of the highest mean reward; where others cannot be told apart from it (p above 0.05), the fastest of those.

    Args:
        rewards: algorithm -> its rewards.
        seconds: algorithm -> wall time of its training.

    Returns:
        `take`, `best`, `tied` (those that cannot be told apart from the best, itself included), `tests` (algorithm ->
        the best's lead with interval and p) and `why`, in words.
    """
    best = max(rewards, key=lambda name: rewards[name].value())
    tests = {name: difference(rewards[name], rewards[best], resamples, seed) for name in rewards if name != best}
    tied = [best, *(name for name, test in tests.items() if test.p is None or test.p > SURE)]
    take = min(tied, key=lambda name: seconds[name])
    return {
        "take": take,
        "best": best,
        "tied": tied,
        "tests": {name: {"lead": t.difference, "low": t.low, "high": t.high, "p": t.p} for name, t in tests.items()},
        "why": _why(rewards, seconds, best, take, tied, tests),
    }


def _why(
    rewards: Mapping[str, Side],
    seconds: Mapping[str, float],
    best: str,
    take: str,
    tied: Sequence[str],
    tests: Mapping[str, Difference],
) -> str:
    if len(rewards) == 1:
        return f"{best} is the only one that ran."
    if len(tied) > 1:
        others = " and ".join(name for name in tied if name != take)
        found = (
            f"Take {take}: the difference in reward to {others} is noise ({best} has the highest mean, "
            f"{rewards[best].value():.3f}), and it is the fastest of these ({seconds[take]:.0f} s)."
        )
    else:
        second = max(tests, key=lambda name: rewards[name].value())
        lead = tests[second]
        span = "" if lead.low is None or lead.high is None else f" [{lead.low:.3f}, {lead.high:.3f}]"
        found = (
            f"Take {best}: its reward of {rewards[best].value():.3f} is {lead.difference:.3f}{span} above that of "
            f"{second}, the next (p {lead.p:.3f})."
        )
    behind = [name for name in rewards if name not in tied]
    return found + (f" Behind it beyond noise: {', '.join(behind)}." if behind else "")
