"""Policy gradient with a bounded ratio and a penalty for leaving the reference; most of the family by its options.

L = -E[w min(r A, clip(r, 1 - e, 1 + e') A)] + beta E[KL] - c E[H], r = exp(p - p_old), w = min(exp(p_old - p_sampler),
cap), with p the policy's log-probs and q the reference's (Schulman et al. 2017, eq. 7; Shao et al. 2024, eq. 3-4).
Sequence-level ratios: Zheng et al. 2025 (GSPO), eq. 5-7; clipped, detached weights: MiniMax 2025 (CISPO), eq. 4-5;
truncated importance sampling: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy training".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.objectives.kl import Estimator, divergence
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Aggregation", "Options", "PolicyGradient", "aggregate", "build", "clipped_surrogate", "sequence_mean"]

# What a sum over tokens is divided by: all tokens; each sequence by its own, then by their number; their number alone.
Aggregation = Literal["token", "sequence", "sum"]


class Options(BaseModel, extra="forbid"):
    """How the ratio is bounded, and what else is in the loss."""

    beta: float = Field(0.1, ge=0, allow_inf_nan=False, description="weight of the KL to the reference")
    kl_estimator: Estimator = Field("k3", description="of the KL in the loss: k1, k2 or k3")
    epsilon: float = Field(0.2, gt=0, description="bound of the ratio to 1; acts from two updates a rollout on")
    epsilon_high: float | None = Field(None, gt=0, description="its upper bound, where that is another")
    importance_sampling_level: Literal["token", "sequence"] = Field("token", description="whose ratio it is")
    ratio: Literal["clipped", "weight"] = Field(
        "clipped", description="clipped: PPO's surrogate; weight: a constant weight of the log-probs (CISPO)"
    )
    loss_type: Aggregation = Field("token", description="what the sum over tokens is divided by")
    entropy_coef: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight of the entropy, as a bonus")
    importance_sampling_cap: float | None = Field(
        2.0, gt=0, description="bound of the weight that corrects for a sampler that differs; null: no correction"
    )


def clipped_surrogate(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A), elementwise; ratio, advantages [N]."""
    return (ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)


def sequence_mean(values: Tensor, unit: Tensor) -> Tensor:
    """The mean over each label's own sequence, [N]; unit int64 [N]."""
    count = int(unit.max()) + 1 if len(unit) else 0
    sums = values.new_zeros(count).index_add(0, unit, values)
    sizes = values.new_zeros(count).index_add(0, unit, values.new_ones(len(values)))
    return (sums / sizes.clamp_min(1))[unit]


def aggregate(batch: Batch, how: Aggregation) -> tuple[np.ndarray, float]:
    """Weights of a batch's labels float32 [N], and what their sum is divided by (summed over batches)."""
    sequences = float(len(np.unique(batch.unit)))
    if how == "sequence":
        return (1 / np.bincount(batch.unit)[batch.unit]).astype(np.float32), sequences
    return np.ones(len(batch.labels), np.float32), sequences if how == "sum" else float(len(batch.labels))


class PolicyGradient:
    """Sums over the tokens that earn credit, divided once by the totals of the whole step."""

    quantities: tuple[str, ...] = ("logprobs", "entropy")
    needs: tuple[str, ...] = ("advantages", "rollout_logprobs")

    def __init__(self, options: Options):
        self.options, self.beta, self.low = options, options.beta, options.epsilon
        self.high = options.epsilon if options.epsilon_high is None else options.epsilon_high
        if self.beta:
            self.needs = (*self.needs, "reference_logprobs")

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """What each component is divided by."""
        count = sum(aggregate(b, self.options.loss_type)[1] for b in batches)
        found = {"policy": count}
        if self.beta:
            found["kl"] = count / self.beta
        if self.options.entropy_coef:
            found["entropy_bonus"] = count / self.options.entropy_coef
        return found

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Besides the columns of `needs`, `old_logprobs` where a rollout is used more than once (else the policy's own,
        detached).
        """
        import torch

        from penchant.models.quantities import tensors

        logp, entropy = quantities["logprobs"], quantities["entropy"]
        t = tensors(batch, logp.device)
        n = float(len(batch.labels))
        weights = torch.from_numpy(aggregate(batch, self.options.loss_type)[0]).to(logp)
        old = t.get("columns.old_logprobs", logp.detach())
        gain, ratio = self._gain(logp, old, t)
        outside = ((ratio < 1 - self.low) | (ratio > 1 + self.high)).float().sum()
        gap = old - t["columns.rollout_logprobs"]
        stats = {
            "entropy": (float(entropy.detach().sum()), n),
            "clip_ratio": (float(outside), n),
        }
        if batch.products is None:  # else the trainer's numbers are the sampler's own
            stats["logprob_difference"] = (float(gap.abs().sum()), n)
        if self.options.importance_sampling_cap is not None:
            correction = gap.exp().clamp(max=self.options.importance_sampling_cap)
            gain = gain * correction
            stats["importance_weight"] = (float(correction.sum()), n)
        terms = {"policy": Term(-(weights * gain).sum(), n, stats)}
        if self.beta:
            kl = divergence(logp, t["columns.reference_logprobs"], self.options.kl_estimator)
            terms["kl"] = Term((weights * kl).sum(), n, {"kl": (float(kl.detach().sum()), n)})
        if self.options.entropy_coef:
            terms["entropy_bonus"] = Term(-(weights * entropy).sum(), n)
        return terms

    def _gain(self, logp: Tensor, old: Tensor, t: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What is to grow, [N], and the ratio [N], detached."""
        gap = logp - old
        if self.options.importance_sampling_level == "sequence":
            gap = sequence_mean(gap, t["unit"])
        ratio = gap.exp()
        if self.options.ratio == "weight":
            weight = ratio.detach().clamp(1 - self.low, 1 + self.high)
            return weight * t["columns.advantages"] * logp, ratio.detach()
        return clipped_surrogate(ratio, t["columns.advantages"], self.low, self.high), ratio.detach()


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return PolicyGradient(options)
