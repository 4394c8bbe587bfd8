"""Q-learning with a table: each action's worth in each state, learned while acting. Take it for small numbered worlds.

Watkins & Dayan 1992: Q(s, a) <- Q(s, a) + rate [r + gamma max Q(s', a') - Q(s, a)].
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penchant.contracts import Algorithm, Context
from penchant.objectives import q_learning

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "transitions"


class Options(q_learning.Options, extra="forbid"):
    """How much the future counts, and how actions are tried."""

    gamma: float = Field(0.99, gt=0, le=1, description="what a reward one step later is worth")
    exploration: Literal["epsilon_greedy", "boltzmann"] = Field("epsilon_greedy", description="how actions are tried")
    epsilon_start: float = Field(1.0, ge=0, le=1, description="share of random actions at first")
    epsilon_end: float = Field(0.05, ge=0, le=1, description="and later on")
    epsilon_fraction: float = Field(0.5, gt=0, le=1, description="share of the updates over which it falls")
    tau: float = Field(1.0, gt=0, allow_inf_nan=False, description="temperature of Boltzmann exploration")
    double: bool = Field(False, description="the trained values choose the next action, the target values it")
    memory: int = Field(0, ge=0, description="transitions that are kept; 0: each is used once, as it comes")
    learning_starts: int = Field(0, ge=0, description="transitions before the first update")
    train_frequency: int = Field(1, ge=1, description="actions (in each environment) between updates")
    gradient_steps: int = Field(1, ge=1, description="updates between them")
    target_steps: int = Field(0, ge=0, description="updates between copies to the target network; 0: there is none")
    polyak: float = Field(1.0, gt=0, le=1, description="how much of the network the target takes each time")
    error: Literal["squared", "huber"] = Field("squared", description="half the square, or straight beyond 1")
    reduction: Literal["mean", "sum"] = Field("sum", description="over the transitions of an update")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm; a target network is kept where `target_steps` asks for one."""
    from penchant.algorithms._target import Target

    objective = q_learning.QLearning(options)
    if not options.target_steps:
        return Algorithm(objective)
    target = Target(options.target_steps, options.polyak)
    return Algorithm(objective, begin=target.begin, after_update=target.after_update, kept={"target": target})
