"""Minimum risk: the expected reward under the policy, renormalised over the samples of a prompt.

Shen et al. 2016, "Minimum risk training for neural machine translation", eq. 11-12: q(y) = p(y)^a / sum over the group
of p(y')^a, and -sum q(y) r(y) is made small. A text that was sampled twice counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context, Term
from penchant.objectives.kl import divergence
from penchant.records import Batch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MinimumRisk", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """How sharp the distribution over a group is."""

    alpha: float = Field(0.05, gt=0, allow_inf_nan=False, description="log-probs are multiplied by it")
    beta: float = Field(0.1, ge=0, allow_inf_nan=False, description="weight of the KL to the reference (k3), a token")


class MinimumRisk:
    """Divided once by the number of groups; the column `advantages` holds rewards."""

    quantities: tuple[str, ...] = ("logprobs", "entropy")
    unit = "group"
    needs: tuple[str, ...] = ("advantages", "rollout_logprobs", "group")

    def __init__(self, options: Options):
        self.alpha, self.beta = options.alpha, options.beta
        if self.beta:
            self.needs = (*self.needs, "reference_logprobs")

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Groups; and tokens, for the KL."""
        found = {"risk": float(sum(len(np.unique(b.columns["group"])) for b in batches))}
        if self.beta:
            found["kl"] = sum(len(b.labels) for b in batches) / self.beta
        return found

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Groups are whole in a batch."""
        import torch

        from penchant.models.quantities import tensors

        logp = quantities["logprobs"]
        t = tensors(batch, logp.device)
        n = float(len(batch.labels))
        units, first = np.unique(batch.unit, return_index=True)  # a sequence's first label
        place = torch.from_numpy(np.searchsorted(units, batch.unit)).to(logp.device)
        scores = self.alpha * logp.new_zeros(len(units)).index_add(0, place, logp)  # [sequences]
        rewards = t["columns.advantages"][torch.from_numpy(first).to(logp.device)]
        groups = batch.columns["group"][first]
        risk = logp.new_zeros(())
        for group in np.unique(groups):
            own = torch.from_numpy(np.flatnonzero(groups == group)).to(logp.device)
            risk = risk - (scores[own].softmax(0) * rewards[own]).sum()
        gap = (logp.detach() - t["columns.rollout_logprobs"]).abs().sum()
        entropy = float(quantities["entropy"].detach().sum())
        stats = {"entropy": (entropy, n)}
        if batch.products is None:  # else the trainer's numbers are the sampler's own
            stats["logprob_difference"] = (float(gap), n)
        terms = {"risk": Term(risk, n, stats)}
        if self.beta:
            kl = divergence(logp, t["columns.reference_logprobs"]).sum()
            terms["kl"] = Term(kl, n, {"kl": (float(kl.detach()), n)})
        return terms


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return MinimumRisk(options)
