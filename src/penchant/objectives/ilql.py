"""Implicit language Q-learning: expectile values, double Q-learning, a conservative term, and likelihood.

Snell et al. (ICLR 2023), section 4; token n of a text is an action in the state of all tokens before it, with reward
r_n, and s' is the state before the text's next action (V(s') = 0 after its last one):

    value     |tau - 1(u < 0)| u^2, u = min(Q^1, Q^2)(s, a) - V(s), with Q^i the slowly moving copies (Kostrikov 2022)
    q         1/2 sum_i (r + gamma V(s') - Q_i(s, a))^2, V(s') without a gradient
    cql       1/2 sum_i log sum_b exp Q_i(s, b) - Q_i(s, a), weighed by alpha (Kumar et al. 2020)
    clone     -log p(a | s), weighed by clone_weight
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

__all__ = ["FOLLOWS", "HEADS", "Ilql", "Options", "build", "expectile_loss", "next_values"]

FOLLOWS = {"target_q1": "q1", "target_q2": "q2"}  # a slowly moving head -> the one that it follows
HEADS = {"value": 1, "q1": 0, "q2": 0, "target_q1": 0, "target_q2": 0}


class Options(BaseModel, extra="forbid"):
    """Weights of the terms, and how far values look."""

    gamma: float = Field(0.99, ge=0, le=1, description="discount of a token")
    tau: float = Field(0.7, gt=0, lt=1, description="expectile of the values; towards 1: the best action in the data")
    alpha: float = Field(0.1, ge=0, description="weight of the conservative (CQL) term")
    clone_weight: float = Field(1.0, ge=0, description="weight of the likelihood of the data")


def expectile_loss(difference: Tensor, tau: float) -> Tensor:
    """|tau - 1(u < 0)| u^2, elementwise; the v that minimises its mean over x - v is the tau-expectile of x."""
    return (tau - (difference < 0).to(difference.dtype)).abs() * difference.square()


def next_values(values: Tensor, unit: np.ndarray) -> Tensor:
    """V(s') at each label: the value at the next label of the same unit, 0 after its last; values, unit [N]."""
    import torch

    on = torch.from_numpy(np.append(unit[1:] == unit[:-1], False)[: len(unit)]).to(values.device)
    return torch.where(on, values.roll(-1), values.new_zeros(()))


class Ilql:
    """All terms divided by the number of labels; needs the column `rewards` and the heads `HEADS`."""

    needs = ("rewards",)
    unit = "sequence"
    heads: Mapping[str, int] = HEADS

    def __init__(self, options: Options):
        self.options = options
        weights = {"value": 1.0, "q": 1.0, "cql": options.alpha, "clone": options.clone_weight}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        taken = ("values", "q1_taken", "q2_taken", "target_q1_taken", "target_q2_taken")
        more = {"cql": ("q1_logsumexp", "q2_logsumexp"), "clone": ("logprobs",)}
        self.quantities = taken + tuple(name for term, names in more.items() if term in self.weights for name in names)

    def totals(self, batches: Sequence[Batch]) -> dict[str, float]:
        """All labels, for each term."""
        return dict.fromkeys(self.weights, float(sum(len(b.labels) for b in batches)))

    def loss(self, quantities: Mapping[str, Tensor], batch: Batch) -> dict[str, Term]:
        """Sums over labels; a unit's labels stand in a row, in the order of its text."""
        from penchant.models.quantities import tensors

        options, values = self.options, quantities["values"]
        q1, q2 = quantities["q1_taken"], quantities["q2_taken"]
        rewards = tensors(batch, values.device)["columns.rewards"]
        slow = quantities["target_q1_taken"].minimum(quantities["target_q2_taken"]).detach()
        target = rewards + options.gamma * next_values(values, batch.unit).detach()
        error = 0.5 * ((target - q1).square() + (target - q2).square())
        sums = {"value": expectile_loss(slow - values, options.tau).sum(), "q": error.sum()}
        if "cql" in self.weights:
            sums["cql"] = 0.5 * (quantities["q1_logsumexp"] - q1 + quantities["q2_logsumexp"] - q2).sum()
        if "clone" in self.weights:
            sums["clone"] = -quantities["logprobs"].sum()
        n = float(len(batch.labels))
        means = {"values/mean": values, "q/mean": (q1 + q2) / 2, "advantage": slow - values}
        stats = {name: (float(each.detach().sum()), n) for name, each in means.items()}
        terms = {name: Term(weight * sums[name], n) for name, weight in self.weights.items()}
        return terms | {"value": Term(sums["value"], n, stats)}


def build(options: Options, context: Context) -> Any:
    """The objective."""
    return Ilql(options)
