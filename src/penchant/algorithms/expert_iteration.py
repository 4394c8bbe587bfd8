"""Expert iteration: the likelihood of each prompt's best samples is raised. Take it for a stable start.

Anthony et al. 2017, "Thinking fast and slow"; as rejection sampling on text: Dong et al. 2023, "RAFT".
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from penchant.advantages.best import best_of_group
from penchant.algorithms import _on_policy
from penchant.contracts import Algorithm, Context
from penchant.objectives.policy_gradient import PolicyGradient

__all__ = ["Options", "build"]


class Options(_on_policy.Options, extra="forbid"):
    """Options of expert iteration."""

    beta: float = Field(0.0, ge=0, allow_inf_nan=False, description="weight of the KL to the reference")
    keep: int = Field(1, ge=1, description="samples kept of each prompt")
    least: float | None = Field(None, description="rewards below are never kept; null: the best are, however bad")


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""

    def advantages(rewards: np.ndarray) -> np.ndarray:
        return best_of_group(rewards, options.keep, options.least)

    return _on_policy.algorithm(PolicyGradient(options), options, advantages=advantages)
