"""Policy gradient with a critic: the policy's loss, and the squared error of a value head, clipped as the ratio is.

Schulman et al. 2017, "Proximal policy optimization", eq. 9; the clipped value loss is that of its code: the larger of
(V - R)^2 and (clip(V, V_old - e, V_old + e) - R)^2, halved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from penchant.contracts import Context, Term
from penchant.objectives import policy_gradient
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ActorCritic", "Options", "build", "value_error"]


class Options(policy_gradient.Options, extra="forbid"):
    """Those of the policy gradient, and the critic's."""

    vf_coef: float = Field(0.1, ge=0, allow_inf_nan=False, description="weight of the values' error")
    cliprange_value: float | None = Field(
        0.2, gt=0, description="values may leave those of the rollout by that much before their error stops to pull"
    )


def value_error(values: Tensor, returns: Tensor, old: Tensor | None, clip: float | None) -> Tensor:
    """Half the squared error, the larger of plain and clipped, elementwise [N]."""
    error = (values - returns).square()
    if clip is not None and old is not None:
        error = error.maximum((old + (values - old).clamp(-clip, clip) - returns).square())
    return error / 2


class ActorCritic(policy_gradient.PolicyGradient):
    """Needs a head `value` and the column `returns` besides."""

    quantities: tuple[str, ...] = ("logprobs", "entropy", "values")

    def __init__(self, options: Options):
        super().__init__(options)
        self.weight, self.clip = options.vf_coef, options.cliprange_value
        self.needs = (*self.needs, "returns")

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """The policy's, and for the values all labels."""
        count = float(sum(len(b.labels) for b in batches))
        return super().totals(batches) | ({"value": count / self.weight} if self.weight else {})

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """`old_values` bound the values where a rollout is used more than once."""
        from penchant.models.quantities import tensors

        terms = super().loss(quantities, batch)
        if not self.weight:
            return terms
        values = quantities["values"]
        t = tensors(batch, values.device)
        returns = t["columns.returns"]
        old = t.get("columns.old_values")
        error = value_error(values, returns, old, self.clip).sum()
        n, seen = float(len(batch.labels)), values.detach()
        stats = {
            "value_error": (float((seen - returns).square().sum()), n),
            "values": (float(seen.sum()), n),
            "returns": (float(returns.sum()), n),
            "returns_squared": (float(returns.square().sum()), n),
        }
        if self.clip is not None and old is not None:
            stats["value_clip_ratio"] = (float(((seen - old).abs() > self.clip).sum()), n)
        terms["value"] = Term(error, n, stats)
        return terms


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return ActorCritic(options)
