"""Dawid-Skene: each rater has a matrix of errors, found together with the true labels by EM.

Dawid and Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm", eq. 2.3 to 2.5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.raters.votes import Estimate, Votes, probability_ratios

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """How long, and how sure errors are."""

    steps: int = Field(500, ge=1, description="of EM at most")
    tolerance: float = Field(1e-7, gt=0, description="it ends where the log-likelihood a vote rises by less")
    smoothing: float = Field(
        1.0,
        ge=0,
        description="votes added to each cell of each rater's matrix (1: Laplace's uniform prior); 0: as published,"
        " which trusts raters of few votes too much",
    )


def build(options: Options, context: Context) -> Callable[[Votes], Estimate]:
    """The method; `told` has `prior` [labels], `confusion` [raters, true, given] and `log_likelihood`."""

    def estimate(votes: Votes) -> Estimate:
        size, raters = len(votes.labels), len(votes.raters)
        truth, before = probability_ratios(votes), -np.inf
        steps = 0
        while steps < options.steps:
            steps += 1
            prior = truth.mean(0)
            confusion = np.full((raters, size, size), options.smoothing)
            np.add.at(confusion.transpose(0, 2, 1), (votes.rater, votes.label), truth[votes.item])
            total = confusion.sum(2, keepdims=True)
            confusion = np.divide(confusion, total, out=np.full_like(confusion, 1 / size), where=total > 0)
            with np.errstate(divide="ignore"):
                said = np.log(confusion)[votes.rater, :, votes.label]  # [votes, true]
                joint = np.tile(np.log(prior), (len(votes.items), 1))
            np.add.at(joint, votes.item, said)
            top = joint.max(1, keepdims=True)
            weight = np.exp(joint - top)
            truth = weight / weight.sum(1, keepdims=True)
            found = float((np.log(weight.sum(1)) + top[:, 0]).sum())
            # What EM raises: with added votes the posterior under their Dirichlet prior.
            raised = found + (options.smoothing * float(np.log(confusion).sum()) if options.smoothing else 0.0)
            if raised - before < options.tolerance * len(votes.label):
                break
            before = raised
        return Estimate(
            truth,
            (prior * confusion.diagonal(axis1=1, axis2=2)).sum(1),
            {"prior": prior, "confusion": confusion, "log_likelihood": found, "steps": steps},
        )

    return estimate
