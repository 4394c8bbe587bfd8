"""GRPO: several samples a prompt, each against the mean of its group; no value model. Take it first.

Shao et al. 2024, "DeepSeekMath", section 4; losses summed over all tokens of the step as in DAPO (Yu et al. 2025,
eq. 8). `dr_grpo`, `dapo`, `gspo` and `cispo` are its options under names of their own.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from penchant.advantages.group import Over, group_advantages
from penchant.algorithms import _on_policy
from penchant.contracts import Algorithm, Context
from penchant.objectives.policy_gradient import PolicyGradient

__all__ = ["Options", "build", "overlong"]


class Options(_on_policy.Options, extra="forbid"):
    """Options of GRPO (names as in TRL)."""

    std_floor: float = Field(0.1, ge=0, description="added to the standard deviation")
    scale_rewards: Over = Field("group", description="whose standard deviation divides: group, batch or none")
    baseline: Literal["group", "batch"] = Field(
        "group", description="whose mean is subtracted (batch: where many groups get the same reward throughout)"
    )
    dynamic_sampling: int = Field(
        0, ge=0, description="rounds at most that sample other prompts for groups whose rewards are all the same"
    )
    overlong_buffer: int = Field(0, ge=0, description="last tokens before the limit over which the reward falls")
    overlong_penalty: float = Field(1.0, ge=0, description="what it has fallen by at the limit")


def overlong(rewards: np.ndarray, lengths: np.ndarray, limit: int, buffer: int, penalty: float) -> np.ndarray:
    """Rewards less a penalty that grows in a straight line over the last tokens (DAPO, eq. 13).

    Args:
        rewards, lengths: [completions]; lengths in tokens.
        limit: the most tokens that there can be.
    """
    over = np.clip((lengths - (limit - buffer)) / buffer, 0, 1)
    return np.asarray(rewards - penalty * over)


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""

    def advantages(rewards: np.ndarray) -> np.ndarray:
        return group_advantages(rewards, options.std_floor, options.scale_rewards, options.baseline)

    def shape(rewards: np.ndarray, lengths: np.ndarray, limit: int) -> np.ndarray:
        return overlong(rewards, lengths, limit, options.overlong_buffer, options.overlong_penalty)

    return _on_policy.algorithm(
        PolicyGradient(options),
        options,
        advantages=advantages,
        shape=shape if options.overlong_buffer else None,
        dynamic_sampling=options.dynamic_sampling,
    )
