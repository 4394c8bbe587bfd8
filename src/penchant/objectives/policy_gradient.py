"""Policy gradient with a clipped ratio and a penalty for leaving the reference (PPO's surrogate, k3 estimator).

L = -E[min(r A, clip(r, 1 - e, 1 + e) A)] + beta E[exp(q - p) - 1 - (q - p)], r = exp(p - p_old), with p and q the
log-probs of policy and reference (Schulman et al. 2017, eq. 7; Schulman 2020, "Approximating KL divergence", k3;
Shao et al. 2024, eq. 3-4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Options", "PolicyGradient", "build", "clipped_surrogate", "k3"]


class Options(BaseModel, extra="forbid"):
    """`beta` weighs the KL to the reference; `epsilon`, `epsilon_high` bound the ratio."""

    beta: float = Field(0.1, ge=0)
    epsilon: float = Field(0.2, gt=0)
    epsilon_high: float | None = Field(None, gt=0)


def clipped_surrogate(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A), elementwise; ratio, advantages [N]."""
    return (ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """exp(q - p) - 1 - (q - p), elementwise, never negative; its mean under p is KL(p || q)."""
    gap = reference - logprobs
    return gap.expm1() - gap


class PolicyGradient:
    """Sums over the tokens that earn credit, divided once by their number in the whole step."""

    quantities = ("logprobs", "entropy")
    needs: tuple[str, ...] = ("advantages", "rollout_logprobs")

    def __init__(self, options: Options):
        self.beta, self.low = options.beta, options.epsilon
        self.high = options.epsilon if options.epsilon_high is None else options.epsilon_high
        if self.beta:
            self.needs = (*self.needs, "reference_logprobs")

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Tokens that earn credit, for both components."""
        count = float(sum(len(b.labels) for b in batches))
        return {"policy": count, "kl": count / self.beta if self.beta else count}

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Besides the columns of `needs`, `old_logprobs` where a rollout is used more than once (else the policy's own,
        detached).
        """
        from penchant.models.quantities import tensors

        logp = quantities["logprobs"]
        t = tensors(batch, logp.device)
        n = float(len(batch.labels))
        old = t.get("columns.old_logprobs", logp.detach())
        ratio = (logp - old).exp()
        gain = clipped_surrogate(ratio, t["columns.advantages"], self.low, self.high)
        outside = ((ratio < 1 - self.low) | (ratio > 1 + self.high)).float().sum()
        gap = (old - t["columns.rollout_logprobs"]).abs().sum()
        stats = {
            "entropy": (float(quantities["entropy"].detach().sum()), n),
            "clip_ratio": (float(outside), n),
            "logprob_difference": (float(gap), n),
        }
        terms = {"policy": Term(-gain.sum(), n, stats)}
        if self.beta:
            kl = k3(logp, t["columns.reference_logprobs"]).sum()
            terms["kl"] = Term(kl, n, {"kl": (float(kl.detach()), n)})
        return terms


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return PolicyGradient(options)
