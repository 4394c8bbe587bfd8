"""Bradley-Terry over all pairs: texts have a strength and raters a reliability; take it where texts recur.

A rater of reliability r says the better of two texts with probability r and the worse with 1 - r (Chen et al. 2013,
"Pairwise ranking aggregation in a crowdsourced setting", eq. 2); ties are Davidson's (1970, "On extending the
Bradley-Terry model to accommodate ties", eq. 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.raters.votes import Estimate, Votes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """What is believed before any vote."""

    spread: float = Field(1.0, gt=0, description="standard deviation of strengths (their prior is normal)")
    reliability: float = Field(0.85, gt=0.5, lt=1, description="of a rater of whom nothing is known")
    reliability_spread: float = Field(1.0, gt=0, description="standard deviation of its log-odds over raters")
    steps: int = Field(200, ge=1, description="of L-BFGS at most")


def build(options: Options, context: Context) -> Callable[[Votes], Estimate]:
    """The method: the posterior's mode; `told` has `scores` [texts] and `tie`, Davidson's nu.

    Raises:
        InputError: items are no pairs.
    """

    def estimate(votes: Votes) -> Estimate:
        if votes.pairs is None or len(votes.labels) not in (2, 3):
            raise InputError("bradley_terry needs pairs of texts", "name their columns with pair=[a, b]")
        return _fitted(votes, votes.pairs, options)

    return estimate


def _fitted(votes: Votes, pairs: np.ndarray, options: Options) -> Estimate:
    import torch

    ties = len(votes.labels) == 3
    texts, raters = int(pairs.max()) + 1, len(votes.raters)
    strengths = torch.zeros(texts, dtype=torch.float64, requires_grad=True)
    doubts = torch.zeros(raters, dtype=torch.float64, requires_grad=True)  # from the prior's log-odds
    tie = torch.zeros((), dtype=torch.float64, requires_grad=True)
    middle = math.log(options.reliability / (1 - options.reliability))
    place = torch.from_numpy(pairs[votes.item])
    rater, said = torch.from_numpy(votes.rater), torch.from_numpy(votes.label)
    optimizer = torch.optim.LBFGS(
        [strengths, doubts, *([tie] if ties else [])], max_iter=options.steps, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        logs = _log_probabilities(strengths[place[:, 0]] - strengths[place[:, 1]], tie if ties else None)
        right = logs.gather(1, said[:, None])[:, 0]
        swapped = torch.where(said == 2, said, 1 - said)
        wrong = logs.gather(1, swapped[:, None])[:, 0]
        sure = middle + doubts[rater]
        likely = torch.logaddexp(
            right + torch.nn.functional.logsigmoid(sure), wrong + torch.nn.functional.logsigmoid(-sure)
        )
        prior = (strengths / options.spread).square().sum() + (doubts / options.reliability_spread).square().sum()
        return -likely.sum() + prior / 2 + tie.square() / 2

    def step() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(step)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        own = torch.from_numpy(pairs)
        logs = _log_probabilities(strengths[own[:, 0]] - strengths[own[:, 1]], tie if ties else None)
        return Estimate(
            logs.exp().numpy(),
            torch.sigmoid(middle + doubts).numpy(),
            {"scores": strengths.numpy().copy(), "tie": float(tie.exp()) if ties else 0.0, "loss": float(loss())},
        )


def _log_probabilities(gap: Tensor, tie: Tensor | None) -> Tensor:
    """float64 [pairs, 2 or 3]: of the first, of the second, of neither being better, by the gap of strengths."""
    import torch

    parts = [gap / 2, -gap / 2] + ([] if tie is None else [tie.expand_as(gap)])
    return torch.log_softmax(torch.stack(parts, 1), 1)
