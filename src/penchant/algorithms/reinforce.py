"""REINFORCE: the plain policy gradient, with a moving, a learned or no baseline. Take it to see what others gain.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from penchant.advantages.moving_average import MovingAverage
from penchant.algorithms import _critic, _on_policy
from penchant.contracts import Algorithm, Context
from penchant.objectives import actor_critic
from penchant.objectives.policy_gradient import Aggregation, PolicyGradient

__all__ = ["Options", "build"]


class Options(_on_policy.Options, actor_critic.Options, extra="forbid"):
    """Options of REINFORCE."""

    baseline: Literal["none", "moving_average", "learned"] = Field(
        "moving_average", description="what rewards are held against (learned: a value head)"
    )
    decay: float = Field(0.9, ge=0, lt=1, description="of the moving average")
    loss_type: Aggregation = Field("sum", description="what the sum over tokens is divided by (sum: unbiased)")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    if options.baseline == "learned":
        critic = _critic.Critic(gamma=1.0, lam=1.0, whiten=False)
        return _critic.algorithm(actor_critic.ActorCritic(options), options, critic)
    if options.baseline == "none":
        return _on_policy.algorithm(
            PolicyGradient(options), options, advantages=lambda r: np.nan_to_num(r).astype(np.float32)
        )
    average = MovingAverage(options.decay)
    return _on_policy.algorithm(PolicyGradient(options), options, advantages=average, kept={"baseline": average})
