"""Q-learning: an action's value is moved to a target, r + gamma max Q(s', a') (Watkins & Dayan 1992; Mnih et al. 2015).

`sum` and plain gradient descent give Q(s, a) <- Q(s, a) + rate [target - Q(s, a)] to the letter; `mean` with a Huber
loss is what deep networks take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Options", "QLearning", "build"]


class Options(BaseModel, extra="forbid"):
    """What is made small."""

    error: Literal["squared", "huber"] = Field("huber", description="half the square, or straight beyond 1")
    reduction: Literal["mean", "sum"] = Field("mean", description="over the transitions of an update")


class QLearning:
    """Needs the column `target`; the action values are the model's own outputs."""

    quantities: tuple[str, ...] = ("action_values",)
    needs: tuple[str, ...] = ("target",)

    def __init__(self, options: Options):
        self.options = options

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Transitions, or 1 for their sum."""
        return {"td": float(sum(len(b.labels) for b in batches)) if self.options.reduction == "mean" else 1.0}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Labels are actions."""
        import torch

        from penchant.models.quantities import tensors

        values = quantities["action_values"]
        target = tensors(batch, values.device)["columns.target"]
        gap = values - target
        if self.options.error == "huber":
            error = torch.nn.functional.huber_loss(values, target, reduction="none")
        else:
            error = gap.square() / 2
        n = float(len(batch.labels))
        stats = {"td_error": (float(gap.detach().abs().sum()), n), "q_values": (float(values.detach().sum()), n)}
        return {"td": Term(error.sum(), n, stats)}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return QLearning(options)
