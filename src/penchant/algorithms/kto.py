"""KTO: learn from answers that are each labelled good or bad. Take it where you have thumbs, not pairs.

Ethayarajh et al. 2024, "KTO: Model alignment as prospect theoretic optimization".
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import kto

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "unpaired"


class Options(kto.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(kto.build(options, context))
