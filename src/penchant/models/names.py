"""What the layers of a decoder are called, for options; without torch."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["TARGETS", "TargetName"]

TargetName = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)
