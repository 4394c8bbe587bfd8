"""Minimum risk: the expected reward over each prompt's samples is raised as it stands. Take it for translation metrics.

Shen et al. 2016, "Minimum risk training for neural machine translation".
"""

from __future__ import annotations

import numpy as np

from penchant.contracts import Algorithm, Context
from penchant.objectives import minimum_risk

__all__ = ["Options", "build"]


class Options(minimum_risk.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm; the objective reads rewards where others read advantages."""
    return Algorithm(minimum_risk.MinimumRisk(options), lambda rewards: np.nan_to_num(rewards).astype(np.float32))
