"""CPO: DPO without a reference, and the likelihood of chosen answers. Take it for translation.

Xu et al. 2024, "Contrastive preference optimization".
"""

from __future__ import annotations

from penchant.contracts import Algorithm, Context
from penchant.objectives import cpo

__all__ = ["SOURCE", "Options", "build"]

SOURCE = "pairs"


class Options(cpo.Options, extra="forbid"):
    """Those of the objective."""


def build(options: Options, context: Context) -> Algorithm:
    """The algorithm."""
    return Algorithm(cpo.build(options, context))
