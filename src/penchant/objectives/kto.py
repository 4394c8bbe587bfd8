"""KTO: answers labelled good or bad by themselves, against the reference and the batch's own KL.

With r the sum of log p - log q and z the KL (a column `kl`): w+ (1 - s(b (r - z))) for good answers, and
w- (1 - s(b (z - r))) for bad ones (Ethayarajh et al. 2024, eq. 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Kto", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """Names as in TRL."""

    beta: float = Field(0.1, gt=0, allow_inf_nan=False, description="larger: nearer to the reference")
    desirable_weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight of good answers")
    undesirable_weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight of bad answers")


class Kto:
    """Divided once by the number of answers."""

    quantities: tuple[str, ...] = ("logprobs",)
    needs: tuple[str, ...] = ("reference_logprobs", "label", "kl")
    unit = "sequence"

    def __init__(self, options: Options):
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Answers."""
        return {"kto": float(sum(len(np.unique(b.unit)) for b in batches))}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """`label` is above 0.5 where the answer is good."""
        import torch

        from penchant.models.quantities import tensors

        logp, options = quantities["logprobs"], self.options
        t = tensors(batch, logp.device)
        units, first = np.unique(batch.unit, return_index=True)
        place = torch.from_numpy(np.searchsorted(units, batch.unit)).to(logp.device)
        start = torch.from_numpy(first).to(logp.device)
        gap = logp - t["columns.reference_logprobs"]
        reward = options.beta * gap.new_zeros(len(units)).index_add(0, place, gap)
        good, kl = t["columns.label"][start] > 0.5, options.beta * t["columns.kl"][start]
        loss = torch.where(
            good,
            options.desirable_weight * (1 - (reward - kl).sigmoid()),
            options.undesirable_weight * (1 - (kl - reward).sigmoid()),
        )
        number = float(good.sum())
        told = reward.detach()
        stats = {
            "rewards/chosen": (float(told[good].sum()), number),
            "rewards/rejected": (float(told[~good].sum()), len(units) - number),
        }
        return {"kto": Term(loss.sum(), float(len(units)), stats)}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Kto(options)
