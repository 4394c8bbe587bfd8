"""Conservative DPO: DPO with soft labels, from raters' votes or a known rate of errors. Take it where raters disagree.

Mitchell 2023, "A note on DPO with noisy preferences and relationship to IPO". A column `probability` weighs each pair;
where there is none, `label_smoothing` stands for all.
"""

from __future__ import annotations

from pydantic import Field

from penchant.algorithms import dpo

__all__ = ["SOURCE", "Options", "build"]

SOURCE = dpo.SOURCE


class Options(dpo.Options, extra="forbid"):
    """Those of DPO."""

    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="share of pairs that are the wrong way round")


build = dpo.build
