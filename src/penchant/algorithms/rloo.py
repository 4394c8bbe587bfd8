"""RLOO: each sample against the mean of the others of its prompt; unbiased. Take it where GRPO's scaling misleads.

Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free"; Ahmadian et al. 2024, "Back to basics", eq. 7.
"""

from __future__ import annotations

from pydantic import Field

from penchant.advantages.leave_one_out import leave_one_out
from penchant.algorithms import _on_policy
from penchant.contracts import Algorithm, Context
from penchant.objectives.policy_gradient import Aggregation, PolicyGradient

__all__ = ["Options", "build"]


class Options(_on_policy.Options, extra="forbid"):
    """Options of RLOO."""

    loss_type: Aggregation = Field("sum", description="what the sum over tokens is divided by (sum: unbiased)")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return _on_policy.algorithm(PolicyGradient(options), options, advantages=leave_one_out)
