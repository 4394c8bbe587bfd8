"""Robust DPO: DPO that is unbiased where a known share of pairs is the wrong way round. Take it for noisy labels.

Chowdhury et al. 2024, "Provably robust DPO".
"""

from __future__ import annotations

from pydantic import Field

from penchant.algorithms import dpo
from penchant.objectives.dpo import LossType

__all__ = ["SOURCE", "Options", "build"]

SOURCE = dpo.SOURCE


class Options(dpo.Options, extra="forbid"):
    """Those of DPO."""

    loss_type: LossType = Field("robust", description="sigmoid, robust, ipo or hinge")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="share of pairs that are the wrong way round")


build = dpo.build
