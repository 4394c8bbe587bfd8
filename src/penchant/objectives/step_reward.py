"""Process rewards: after each step of an answer, whether it is right; a log-loss on a score.

-y log s(r) - (1 - y) log s(-r), y the step's label (Lightman et al. 2023, "Let's verify step by step", section 2.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from penchant.contracts import Context, Term
from penchant.objectives._pairs import log_sigmoid
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Options", "StepReward", "build"]


class Options(BaseModel, extra="forbid"):
    """No options."""


class StepReward:
    """Divided once by the number of steps; a label stands where a step ends."""

    quantities: tuple[str, ...] = ("score",)
    needs: tuple[str, ...] = ("label",)
    unit = "sequence"

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Steps."""
        return {"steps": float(sum(len(b.labels) for b in batches))}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """`label` is the probability that a step is right."""
        from penchant.models.quantities import tensors

        score = quantities["score"]
        right = tensors(batch, score.device)["columns.label"]
        loss = -right * log_sigmoid(score) - (1 - right) * log_sigmoid(-score)
        n = float(len(batch.labels))
        hits = ((score.detach() > 0) == (right >= 0.5)).float()
        return {"steps": Term(loss.sum(), n, {"accuracy": (float(hits.sum()), n)})}

    def predictions(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, np.ndarray]:
        """`probability` that a step is right, and the `outcome`, [steps]."""
        probability = quantities["score"].detach().sigmoid().cpu().numpy().astype(float)
        return {"probability": probability, "outcome": batch.columns["label"].astype(float)}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return StepReward()
