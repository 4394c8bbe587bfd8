"""MACE: a rater either knows or guesses by a habit of its own (crowd-kit); take it against spammers.

Hovy et al. 2013, "Learning whom to trust with MACE".
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.raters._crowdkit import estimated
from penchant.raters.votes import Estimate, Votes

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """How long, and from how many starts."""

    restarts: int = Field(10, ge=1, description="the likeliest of so many is taken")
    steps: int = Field(50, ge=1, description="of EM")


def build(options: Options, context: Context) -> Callable[[Votes], Estimate]:
    """The method; reliability is the probability that a rater does not guess.

    Of an item that one rater labelled several times the first label counts.
    """

    def estimate(votes: Votes) -> Estimate:
        return estimated(
            votes,
            lambda library: library.MACE(n_restarts=options.restarts, n_iter=options.steps, random_state=context.seed),
            lambda fitted: dict(enumerate(fitted.spamming_[:, 1])),
        )

    return estimate
