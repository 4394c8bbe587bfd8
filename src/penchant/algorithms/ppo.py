"""PPO: A2C with several bounded updates a rollout. Take it where samples are dear and rewards come token by token.

Schulman et al. 2017, "Proximal policy optimization algorithms"; on text with a KL a token in the reward or in the loss,
as in Ziegler et al. 2019.
"""

from __future__ import annotations

from pydantic import Field

from penchant.algorithms import _critic, a2c
from penchant.contracts import Algorithm, Context
from penchant.objectives import actor_critic

__all__ = ["Options", "build"]


class Options(a2c.Options, extra="forbid"):
    """Options of PPO."""

    whiten_advantages: bool = Field(True, description="bring the rollout's advantages to mean 0 and deviation 1")
    num_ppo_epochs: int = Field(4, ge=1, description="passes over one rollout")
    num_mini_batches: int = Field(1, ge=1, description="updates of one pass")
    kl_in_reward: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="weight of the KL a token in the reward (then set beta=0)"
    )


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    whiten, cut = options.whiten_advantages, options.bootstrap_truncated
    critic = _critic.Critic(options.gamma, options.lam, whiten, options.kl_in_reward, cut)
    return _critic.algorithm(
        actor_critic.ActorCritic(options),
        options,
        critic,
        iterations=options.num_ppo_epochs,
        minibatches=options.num_mini_batches,
    )
