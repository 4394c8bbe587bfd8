"""The share of votes for each label; every rater counts the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.raters.votes import Estimate, Votes, probability_ratios

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """What is added to the counts."""

    smoothing: float = Field(0.0, ge=0, description="votes added to each label of each item")


def build(options: Options, context: Context) -> Callable[[Votes], Estimate]:
    """The method; a rater's reliability is how often its label is the one that most votes of the item are for."""

    def estimate(votes: Votes) -> Estimate:
        counts = votes.counts() + options.smoothing
        share = probability_ratios(votes)
        best = share == share.max(1, keepdims=True)
        right = (best / best.sum(1, keepdims=True))[votes.item, votes.label]  # of a tie each gets its part
        given = np.bincount(votes.rater, minlength=len(votes.raters))
        rights = np.bincount(votes.rater, right, minlength=len(given))
        reliability = np.divide(rights, given, out=np.full(len(given), np.nan), where=given > 0)
        return Estimate(counts / counts.sum(1, keepdims=True), reliability)

    return estimate
