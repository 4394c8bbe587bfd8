"""Bradley-Terry: the score of a chosen answer above that of a rejected one, as often as it is preferred.

-P log s(d) - (1 - P) log s(-d), d = r_c - r_r - margin, P the column `probability` (soft labels of raters) or 1
(Bradley & Terry 1952; Stiennon et al. 2020, eq. 1; margins: Touvron et al. 2023, eq. 2); and a small pull of both to 0
(Eisenstein et al. 2023), which the differences leave open. A tie is a pair with P = 1/2: it pulls the scores together,
and is neither right nor wrong.
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
    length_balance: bool = Field(
        False, description="pairs whose longer answer is preferred weigh as much in all as those whose shorter one is"
    )


class BradleyTerry:
    """Divided once by the number of pairs (or their weights); each sequence has one label, where its score is read."""

    quantities: tuple[str, ...] = ("score",)
    unit = "pair"

    def __init__(self, options: Options):
        self.center = options.center_rewards_coefficient
        self.needs = ("weight",) if options.length_balance else ()

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Pairs."""
        pairs = count(batches)
        found = {"preference": sum(map(_weight, batches)) if self.needs else pairs}
        return found | ({"centre": pairs / self.center} if self.center else {})

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sequences 2k and 2k + 1 are chosen and rejected."""
        import torch

        chosen, rejected, probability, margin, weight = self._parts(quantities, batch)
        gap = chosen - rejected - margin
        loss = -probability * log_sigmoid(gap) - (1 - probability) * log_sigmoid(-gap)
        n = float(len(gap))
        lead = (chosen - rejected).detach()
        right = torch.where(lead == 0, 0.5, ((lead > 0) == (probability > 0.5)).to(lead.dtype))  # half a hit
        tied = probability == 0.5
        stats = {
            "rewards/chosen": (float(chosen.detach().sum()), n),
            "rewards/rejected": (float(rejected.detach().sum()), n),
            "rewards/margins": (float(lead.sum()), n),
            "rewards/accuracies": (float(right[~tied].sum()), n - float(tied.sum())),
            "rewards/ties": (float(tied.sum()), n),
        }
        terms = {"preference": Term((weight * loss).sum(), float(weight.sum()), stats)}
        if self.center:
            terms["centre"] = Term((chosen + rejected).square().sum(), n)
        return terms

    def _parts(self, quantities: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        from penchant.models.quantities import tensors

        score = quantities["score"]
        t, pairs = tensors(batch, score.device), Pairs(batch, score.device)
        chosen, rejected = pairs.sums(score)

        def column(name: str, default: float) -> Tensor:
            found = t.get(f"columns.{name}")
            return score.new_full((pairs.n,), default) if found is None else pairs.column(found)

        return chosen, rejected, column("probability", 1.0), column("margin", 0.0), column("weight", 1.0)

    def predictions(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, np.ndarray]:
        """`probability` that the chosen one is preferred, and the `outcome` (the soft label, else 1), [pairs]."""
        chosen, rejected, outcome, *_ = self._parts(quantities, batch)
        found = {"probability": (chosen - rejected).sigmoid(), "outcome": outcome}
        return {name: values.detach().cpu().numpy().astype(float) for name, values in found.items()}


def _weight(batch: Batch) -> float:
    """The weights of a batch's pairs, summed; those of validation have none, and count 1."""
    first = np.unique(batch.unit // 2, return_index=True)[1]
    return float(batch.columns["weight"][first].sum()) if "weight" in batch.columns else float(len(first))


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return BradleyTerry(options)
