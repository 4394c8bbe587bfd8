"""DPO: learn from pairs of a chosen and a rejected answer, near a reference. Take it first where you have pairs.

Rafailov et al. 2023, "Direct preference optimization". `ipo`, `cdpo` and `robust_dpo` are its options under names of
their own.
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import dpo

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "pairs"


class Options(dpo.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(dpo.build(options, context))
