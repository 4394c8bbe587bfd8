"""CPO: log-probs of chosen against rejected answers without a reference, and the chosen one's likelihood.

-log s(b (log p_c - log p_r)) - alpha mean log p_c (Xu et al. 2024, "Contrastive preference optimization", eq. 5)
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

__all__ = ["Cpo", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """Names as in TRL."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="scale of the log-probs")
    cpo_alpha: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight of the chosen one's likelihood")


class Cpo:
    """Divided once by the number of pairs."""

    quantities: tuple[str, ...] = ("logprobs",)
    unit = "pair"

    def __init__(self, options: Options):
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Pairs, for both components."""
        return {"cpo": count(batches), "nll": count(batches)}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sequences 2k and 2k + 1 are chosen and rejected."""
        logp, beta = quantities["logprobs"], self.options.beta
        pairs = Pairs(batch, logp.device)
        chosen, rejected = pairs.sums(logp)
        loss = -log_sigmoid(beta * (chosen - rejected))
        nll = -self.options.cpo_alpha * pairs.means(logp)[0]
        return {
            "cpo": watched(loss, pairs, beta * chosen, beta * rejected, (chosen, rejected)),
            "nll": Term(nll.sum(), float(pairs.n)),
        }


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Cpo(options)
