"""GRPO: several samples a prompt, each against the mean of its group; no value model. Take it first.

Shao et al. 2024, "DeepSeekMath", section 4; losses summed over all tokens of the step as in DAPO (Yu et al. 2025,
eq. 8).
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, Field

from penchant.advantages.group import group_advantages
from penchant.contracts import Algorithm, Context
from penchant.objectives import policy_gradient

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """Options of GRPO (names as in TRL)."""

    beta: float = Field(0.1, ge=0, description="weight of the KL to the start")
    epsilon: float = Field(0.2, gt=0, description="bound of the ratio to 1; acts where num_iterations > 1")
    epsilon_high: float | None = Field(None, gt=0, description="its upper bound, where that is another")
    std_floor: float = Field(0.1, ge=0, description="added to the group's standard deviation")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""

    def advantages(rewards: np.ndarray) -> np.ndarray:
        return group_advantages(rewards, options.std_floor)

    surrogate = policy_gradient.Options(beta=options.beta, epsilon=options.epsilon, epsilon_high=options.epsilon_high)
    return Algorithm(policy_gradient.build(surrogate, context), advantages)
