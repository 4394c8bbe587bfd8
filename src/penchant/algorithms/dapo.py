"""DAPO: GRPO with a higher upper bound, dynamic sampling, a length penalty and no KL. Take it for long reasoning.

Yu et al. 2025, "DAPO", section 3: clip-higher, dynamic sampling, token-level loss, overlong reward shaping.
"""

from __future__ import annotations

from pydantic import Field

from penchant.algorithms import grpo

__all__ = ["Options", "build"]


class Options(grpo.Options, extra="forbid"):
    """Those of GRPO."""

    beta: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight of the KL to the reference")
    epsilon_high: float | None = Field(0.28, gt=0, description="upper bound of the ratio")
    std_floor: float = Field(1e-4, ge=0, description="added to the standard deviation")
    dynamic_sampling: int = Field(
        3, ge=0, description="rounds at most that sample other prompts for groups whose rewards are all the same"
    )
    overlong_buffer: int = Field(8, ge=0, description="last tokens before the limit over which the reward falls")
    overlong_penalty: float = Field(0.5, ge=0, description="what it has fallen by at the limit")


build = grpo.build
