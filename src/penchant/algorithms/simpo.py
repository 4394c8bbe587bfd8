"""SimPO: mean log-probs with a margin, no reference. Take it where answers differ much in length, or memory is short.

Meng et al. 2024, "SimPO: Simple preference optimization with a reference-free reward".
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import simpo

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "pairs"


class Options(simpo.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(simpo.build(options, context))
