"""Online DPO: the best and the worst of a policy's own samples as a pair. Take it where DPO's pairs grow stale.

Guo et al. 2024, "Direct language model alignment from online AI feedback"; groups whose rewards are all the same teach
nothing and are left out.
"""

from __future__ import annotations

import numpy as np

from penchant.contracts import Algorithm, Context
from penchant.objectives import dpo

__all__ = ["Options", "best_and_worst", "build"]


class Options(dpo.Options, extra="forbid"):
    """Those of DPO."""


def best_and_worst(rewards: np.ndarray) -> np.ndarray:
    """1 for the highest reward of each group, -1 for its lowest (the first of equal ones), NaN for what is left out.

    Args:
        rewards: float [groups, samples]; NaN: no verdict.

    Returns:
        float32 [groups, samples].
    """
    found = np.full(rewards.shape, np.nan, np.float32)
    for row, out in zip(rewards, found, strict=True):
        known = np.flatnonzero(~np.isnan(row))
        if len(known) and row[known].max() > row[known].min():
            out[known[row[known].argmax()]], out[known[row[known].argmin()]] = 1.0, -1.0
    return found


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(dpo.build(options, context), best_and_worst, needs=("reference_logprobs",), pairs=True)
