"""Bradley-Terry: the score of a chosen answer above that of a rejected one, as often as it is preferred.

-P log s(d) - (1 - P) log s(-d), d = r_c - r_r - margin, P the column `probability` (soft labels of raters) or 1
(Bradley & Terry 1952; Stiennon et al. 2020, eq. 1; margins: Touvron et al. 2023, eq. 2); and a small pull of both to 0
(Eisenstein et al. 2023), which the differences leave open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.objectives._pairs import Pairs, count, log_sigmoid
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BradleyTerry", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """Names as in TRL."""

    center_rewards_coefficient: float = Field(
        0.01, ge=0, allow_inf_nan=False, description="weight of (r_c + r_r)^2, which keeps scores around 0"
    )


class BradleyTerry:
    """Divided once by the number of pairs; each sequence has one label, where its score is read."""

    quantities: tuple[str, ...] = ("score",)
    unit = "pair"

    def __init__(self, options: Options):
        self.center = options.center_rewards_coefficient

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Pairs."""
        found = {"preference": count(batches)}
        return found | ({"centre": found["preference"] / self.center} if self.center else {})

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sequences 2k and 2k + 1 are chosen and rejected."""
        import torch

        chosen, rejected, probability, margin = self._parts(quantities, batch)
        gap = chosen - rejected - margin
        loss = -probability * log_sigmoid(gap) - (1 - probability) * log_sigmoid(-gap)
        n = float(len(gap))
        lead = (chosen - rejected).detach()
        right = torch.where(lead == 0, 0.5, ((lead > 0) == (probability >= 0.5)).to(lead.dtype))  # a tie is half a hit
        stats = {
            "rewards/chosen": (float(chosen.detach().sum()), n),
            "rewards/rejected": (float(rejected.detach().sum()), n),
            "rewards/margins": (float(lead.sum()), n),
            "rewards/accuracies": (float(right.sum()), n),
        }
        terms = {"preference": Term(loss.sum(), n, stats)}
        if self.center:
            terms["centre"] = Term((chosen + rejected).square().sum(), n)
        return terms

    def _parts(self, quantities: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from penchant.models.quantities import tensors

        score = quantities["score"]
        t, pairs = tensors(batch, score.device), Pairs(batch, score.device)
        chosen, rejected = pairs.sums(score)
        soft, margin = t.get("columns.probability"), t.get("columns.margin")
        probability = score.new_ones(pairs.n) if soft is None else pairs.column(soft)
        return chosen, rejected, probability, score.new_zeros(pairs.n) if margin is None else pairs.column(margin)

    def predictions(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, np.ndarray]:
        """`probability` that the chosen one is preferred, and the `outcome` (the soft label, else 1), [pairs]."""
        chosen, rejected, outcome, _ = self._parts(quantities, batch)
        found = {"probability": (chosen - rejected).sigmoid(), "outcome": outcome}
        return {name: values.detach().cpu().numpy().astype(float) for name, values in found.items()}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return BradleyTerry(options)
