"""A2C: a value head says what was to be expected, token by token; one update a rollout. Take it where PPO is too slow.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning", section 4, synchronous; advantages by GAE.
"""

from __future__ import annotations

from pydantic import Field

from penchant.algorithms import _critic, _on_policy
from penchant.contracts import Algorithm, Context
from penchant.objectives import actor_critic

__all__ = ["Options", "build"]


class Options(_on_policy.Options, actor_critic.Options, extra="forbid"):
    """Options of A2C."""

    gamma: float = Field(1.0, gt=0, le=1, description="what a reward one token later is worth")
    lam: float = Field(
        0.95,
        ge=0,
        le=1,
        description="of GAE: 1 trusts rewards alone (no bias, most noise), below it values (bias where they are wrong)",
    )
    bootstrap_truncated: bool = Field(
        False, description="a completion cut at its limit is worth its last state's value beyond it, not 0"
    )
    whiten_advantages: bool = Field(False, description="bring the rollout's advantages to mean 0 and deviation 1")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    critic = _critic.Critic(options.gamma, options.lam, options.whiten_advantages, cut=options.bootstrap_truncated)
    return _critic.algorithm(actor_critic.ActorCritic(options), options, critic)
