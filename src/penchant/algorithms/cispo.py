"""CISPO: GRPO whose ratio only weighs tokens, so that none stops to learn. Take it for many updates a rollout.

MiniMax 2025, "MiniMax-M1", eq. 4-5: a weight that is cut from above and has no gradient of its own.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penchant.algorithms import grpo

__all__ = ["Options", "build"]


class Options(grpo.Options, extra="forbid"):
    """Those of GRPO."""

    beta: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight of the KL to the reference")
    ratio: Literal["clipped", "weight"] = Field("weight", description="the ratio only weighs the log-probs")
    epsilon: float = Field(1.0, gt=0, description="bound of the weight from below, 1 less it (1: there is none)")
    epsilon_high: float | None = Field(2.0, gt=0, description="bound of the weight from above, 1 and it")


build = grpo.build
