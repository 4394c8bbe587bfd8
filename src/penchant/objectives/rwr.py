"""Reward-weighted regression: likelihood, each segment weighed by the exponential of its score.

Korbak et al. (ICML 2023), section 2, after Peters & Schaal 2007: sum over segments of log p(segment) exp(R / beta).
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

__all__ = ["Options", "Rwr", "build"]


class Options(BaseModel, extra="forbid"):
    """How strongly scores act."""

    signal: str = Field("style", description="whose scores weigh")
    beta: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="scores are divided by it; small: only the best count"
    )
    max_weight: float = Field(20.0, gt=0, description="larger weights are cut to this one")


class Rwr(ByScore):
    """Divided once by the number of all tokens."""

    def __init__(self, options: Options, context: Context):
        super().__init__(options.signal, context)
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """All labels."""
        return {"weighted_nll": float(sum(len(b.labels) for b in batches))}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Needs the column `score`."""
        from penchant.models.quantities import tensors

        logp = quantities["logprobs"]
        weight = (tensors(batch, logp.device)["columns.score"] / self.options.beta).exp()
        weight = weight.clamp(max=self.options.max_weight)
        n = float(len(batch.labels))
        return {"weighted_nll": Term(-(weight * logp).sum(), n, {"weight": (float(weight.sum()), n)})}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Rwr(options, context)
