"""SFT: the likelihood of given answers. Take it before all others, and beside them: it is the one to beat.

Loss on the answers alone, their end included.
"""

from __future__ import annotations

from pydantic import BaseModel

from penchant.contracts import Algorithm, Context
from penchant.objectives.mle import Mle

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "examples"


class Options(BaseModel, extra="forbid"):
    """No options."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(Mle())
