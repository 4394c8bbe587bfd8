"""ORPO: likelihood of chosen answers and their odds in one, no reference. Take it straight from a base model.

Hong et al. 2024, "ORPO: Monolithic preference optimization without reference model".
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import orpo

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "pairs"


class Options(orpo.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(orpo.build(options, context))
