"""Advantage-weighted regression: likelihood, each token weighed by how much better its segment is than was expected.

Korbak et al. (ICML 2023), section 2, after Peng et al. 2019: alpha sum log p(token) exp(A / beta) - (1 - alpha) sum
(V - R)^2, with R the score of the token's segment, V a value head's guess of it before the token, and A = R - V.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.objectives._scored import ByScore
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Awr", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """How strongly advantages act, and the share of the policy in the loss."""

    signal: str = Field("style", description="whose scores weigh")
    alpha: float = Field(0.05, gt=0, lt=1, description="weight of the likelihood; the values' error has the rest")
    beta: float = Field(1.0, gt=0, allow_inf_nan=False, description="advantages are divided by it")
    max_weight: float = Field(20.0, gt=0, description="larger weights are cut to this one")


class Awr(ByScore):
    """Divided once by the number of all tokens; needs a head `value`."""

    quantities = ("logprobs", "values")
    heads: Mapping[str, int] = {"value": 1}

    def __init__(self, options: Options, context: Context):
        super().__init__(options.signal, context)
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """All labels, for both components."""
        count = float(sum(len(b.labels) for b in batches))
        return {"weighted_nll": count, "value": count}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Needs the column `score`."""
        from penchant.models.quantities import tensors

        logp, values, options = quantities["logprobs"], quantities["values"], self.options
        score = tensors(batch, logp.device)["columns.score"]
        weight = ((score - values.detach()) / options.beta).exp().clamp(max=options.max_weight)
        error = (values - score).square()
        n = float(len(batch.labels))
        stats = {"weight": (float(weight.sum()), n), "value_error": (float(error.detach().sum()), n)}
        return {
            "weighted_nll": Term(-options.alpha * (weight * logp).sum(), n, stats),
            "value": Term((1 - options.alpha) * error.sum(), n),
        }


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Awr(options, context)
