"""DQN: Q-learning with a network, a memory and a target network. Take it where states are vectors and actions few.

Mnih et al. 2015; double: van Hasselt et al. 2016; dueling: Wang et al. 2016.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penchant.algorithms import q_learning

__all__ = ["SOURCE", "Options", "build"]

SOURCE = q_learning.SOURCE


class Options(q_learning.Options, extra="forbid"):
    """Those of Q-learning."""

    epsilon_end: float = Field(0.04, ge=0, le=1, description="and later on")
    epsilon_fraction: float = Field(0.16, gt=0, le=1, description="share of the updates over which it falls")
    double: bool = Field(True, description="the trained values choose the next action, the target values it")
    dueling: bool = Field(False, description="values of states and advantages of actions apart")
    memory: int = Field(100_000, ge=0, description="transitions that are kept; 0: each is used once, as it comes")
    learning_starts: int = Field(1000, ge=0, description="transitions before the first update")
    train_frequency: int = Field(256, ge=1, description="actions (in each environment) between updates")
    gradient_steps: int = Field(128, ge=1, description="updates between them")
    target_steps: int = Field(10, ge=0, description="updates between copies to the target network; 0: there is none")
    error: Literal["squared", "huber"] = Field("huber", description="half the square, or straight beyond 1")
    reduction: Literal["mean", "sum"] = Field("mean", description="over the transitions of an update")


build = q_learning.build
