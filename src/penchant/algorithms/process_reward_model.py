"""Process reward model: a score after each step of an answer. Take it where a right end can have wrong steps.

Rows `prompt, completions, labels`, a label a step. Lightman et al. 2023; Uesato et al. 2022.
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import step_reward

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "steps"


class Options(step_reward.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(step_reward.build(options, context), heads={"score": 1})
