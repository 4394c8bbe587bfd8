"""Reward model: one score an answer, from pairs that people judged. Take it to turn preferences into a reward.

Bradley-Terry with soft labels and margins; the folder is transformers' `...ForSequenceClassification`, and a reward:
`rewards='[{name: reward_model, model: DIR}]'`. Judges tend to like length: validation tells how often the longer answer
wins, how right the model is where the shorter one does, and how far its scores go with length; `length_balance` (of
`algorithm_options`) weighs that out. Ties have the probability 1/2. Stiennon et al. 2020; Ouyang et al. 2022.
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import bradley_terry

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "scored_pairs"


class Options(bradley_terry.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(bradley_terry.build(options, context), heads={"score": 1})
