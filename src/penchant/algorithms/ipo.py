"""IPO: DPO with a squared loss that cannot grow without end. Take it where raters never disagree.

Azar et al. 2023, "A general theoretical paradigm to understand learning from human preferences".
"""

from __future__ import annotations

from pydantic import Field

from penchant.algorithms import dpo
from penchant.objectives.dpo import LossType

__all__ = ["SOURCE", "Options", "build"]

SOURCE = dpo.SOURCE


class Options(dpo.Options, extra="forbid"):
    """Those of DPO."""

    loss_type: LossType = Field("ipo", description="sigmoid, robust, ipo or hinge")


build = dpo.build
