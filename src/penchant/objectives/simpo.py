"""SimPO: mean log-probs of chosen against rejected answers, with a margin, no reference (Meng et al. 2024, eq. 6).

-log s(b mean log p_c - b mean log p_r - gamma)
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

__all__ = ["Options", "Simpo", "build"]


class Options(BaseModel, extra="forbid"):
    """Names as in the paper."""

    beta: float = Field(2.0, gt=0, allow_inf_nan=False, description="scale of the mean log-probs")
    gamma: float = Field(1.0, ge=0, allow_inf_nan=False, description="margin that the chosen one is to have")


class Simpo:
    """Divided once by the number of pairs."""

    quantities: tuple[str, ...] = ("logprobs",)
    unit = "pair"

    def __init__(self, options: Options):
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Pairs."""
        return {"simpo": count(batches)}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sequences 2k and 2k + 1 are chosen and rejected."""
        logp, beta = quantities["logprobs"], self.options.beta
        pairs = Pairs(batch, logp.device)
        chosen, rejected = pairs.means(logp)
        loss = -log_sigmoid(beta * (chosen - rejected) - self.options.gamma)
        return {"simpo": watched(loss, pairs, beta * chosen, beta * rejected, pairs.sums(logp))}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Simpo(options)
