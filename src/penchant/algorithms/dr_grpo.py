"""Dr. GRPO: GRPO without the two biases, of length and of easy or hard prompts. Take it where answers grow long.

Liu et al. 2025, "Understanding R1-Zero-like training", section 3: no division by the group's standard deviation, and
sums over a completion's tokens that are not divided by its length (the paper's constant left out).
"""

from __future__ import annotations

from pydantic import Field

from penchant.advantages.group import Over
from penchant.algorithms import grpo
from penchant.objectives.policy_gradient import Aggregation

__all__ = ["Options", "build"]


class Options(grpo.Options, extra="forbid"):
    """Those of GRPO."""

    scale_rewards: Over = Field("none", description="whose standard deviation divides: group, batch or none")
    loss_type: Aggregation = Field("sum", description="what the sum over tokens is divided by")


build = grpo.build
