"""GSPO: GRPO with one ratio a completion, bounded tightly. Take it for several updates a rollout, and for experts.

Zheng et al. 2025, "Group sequence policy optimization", eq. 5-7.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penchant.algorithms import grpo
from penchant.objectives.policy_gradient import Aggregation

__all__ = ["Options", "build"]


class Options(grpo.Options, extra="forbid"):
    """Those of GRPO."""

    beta: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight of the KL to the reference")
    epsilon: float = Field(3e-4, gt=0, description="bound of the ratio to 1")
    epsilon_high: float | None = Field(4e-4, gt=0, description="its upper bound")
    importance_sampling_level: Literal["token", "sequence"] = Field("sequence", description="whose ratio it is")
    loss_type: Aggregation = Field("sequence", description="what the sum over tokens is divided by")


build = grpo.build
