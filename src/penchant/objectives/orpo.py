"""ORPO: the chosen answer's likelihood, and its odds against the rejected one's; no reference.

-mean log p_c - lambda log s(log odds_c - log odds_r), log odds = m - log(1 - exp(m)), m the mean log-prob of an answer
(Hong et al. 2024, eq. 6-7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.objectives._pairs import Pairs, count, log_sigmoid, watched
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Options", "Orpo", "build", "log_odds"]

_NEAREST = 1e-6  # a mean log-prob is kept that far below 0, where odds have no limit


class Options(BaseModel, extra="forbid"):
    """The paper's lambda, under TRL's name."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="weight of the odds")


def log_odds(mean: Tensor) -> Tensor:
    """m - log(1 - exp(m)), elementwise, m below 0."""
    mean = mean.clamp(max=-_NEAREST)
    return mean - (-mean.expm1()).log()


class Orpo:
    """Divided once by the number of pairs."""

    quantities: tuple[str, ...] = ("logprobs",)
    unit = "pair"

    def __init__(self, options: Options):
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Pairs, for both components."""
        return {"odds": count(batches), "nll": count(batches)}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sequences 2k and 2k + 1 are chosen and rejected."""
        logp, beta = quantities["logprobs"], self.options.beta
        pairs = Pairs(batch, logp.device)
        chosen, rejected = pairs.means(logp)
        loss = -beta * log_sigmoid(log_odds(chosen) - log_odds(rejected))
        return {
            "odds": watched(loss, pairs, beta * chosen, beta * rejected, pairs.sums(logp)),
            "nll": Term(-chosen.sum(), float(pairs.n)),
        }


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Orpo(options)
