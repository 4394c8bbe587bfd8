"""GLAD: a rater has an ability and an item a difficulty (crowd-kit); take it where items differ much.

Whitehill et al. 2009, "Whose vote should count more: optimal integration of labels from labelers of unknown expertise".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.raters._crowdkit import estimated
from penchant.raters.votes import Estimate, Votes

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """How long."""

    steps: int = Field(100, ge=1, description="of EM at most")


def build(options: Options, context: Context) -> Callable[[Votes], Estimate]:
    """The method; reliability is 1 / (1 + exp(-ability)), the probability of a right label on an item of difficulty 1.

    Of an item that one rater labelled several times the first label counts.
    """

    def estimate(votes: Votes) -> Estimate:
        return estimated(
            votes,
            lambda library: library.GLAD(n_iter=options.steps),
            lambda fitted: {rater: 1 / (1 + np.exp(-ability)) for rater, ability in fitted.alphas_.items()},
        )

    return estimate
