"""Rotary position embeddings (Su et al. 2021) and their scalings: linear, llama3, yarn. Angles are float32 always."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from penchant.models.scaling import check_scaling

__all__ = ["Rope", "frequencies"]


def frequencies(head_dim: int, rope: Mapping[str, Any]) -> tuple[Tensor, float]:
    """Angles a position [head_dim / 2] (float32), and what cosines and sines are multiplied by.

    Args:
        rope: Hugging Face's `rope_parameters`: `rope_type`, `rope_theta` and what the type asks for.

    Raises:
        InputError: an unknown type, or a value is missing.
    """
    kind = rope.get("rope_type", "default")
    check_scaling(rope)
    base = float(rope["rope_theta"])
    # the order of these operations is transformers': at far positions the last bit of a frequency shows
    plain = 1.0 / base ** (torch.arange(0, head_dim, 2, device="cpu", dtype=torch.float32) / head_dim)
    if kind == "linear":
        return plain / rope["factor"], 1.0
    if kind == "llama3":
        return _llama3(plain, rope), 1.0
    if kind == "yarn":
        return _yarn(plain, rope, head_dim, base)
    return plain, 1.0


def _llama3(plain: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """Llama 3.1: long waves are stretched by `factor`, short ones kept, those between blended."""
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * plain / (2 * math.pi)  # turns within the trained context
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - keep) * plain / factor + keep * plain


def _yarn(plain: Tensor, rope: Mapping[str, Any], width: int, base: float) -> tuple[Tensor, float]:
    """YaRN (Peng et al. 2023, equations 23 to 26): a ramp over dimensions, and a softer softmax."""
    factor, context = rope["factor"], rope["original_max_position_embeddings"]

    def dimension(turns: float) -> float:
        return width * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    def softening(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    steps = torch.arange(width // 2, device="cpu", dtype=torch.float32)
    stretched = ((steps - low) / ((high - low) or 0.001)).clamp(0, 1)
    scale = rope.get("attention_factor")
    if scale is None:
        one, all_ = rope.get("mscale"), rope.get("mscale_all_dim")
        scale = softening(one) / softening(all_) if one and all_ else softening(1.0)
    return plain / factor * stretched + plain * (1 - stretched), float(scale)


class Rope:
    """Cosines and sines of positions; no module, so that a change of the weights' format leaves angles in float32.

    Raises:
        InputError: see `frequencies`.
    """

    def __init__(self, head_dim: int, rope: Mapping[str, Any]):
        inverse, self.scale = frequencies(head_dim, rope)
        self._inverse = {torch.device("cpu"): inverse}

    def __call__(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, head_dim] of positions [T], halves side by side as in Hugging Face."""
        return tuple(torch.cat([x, x], dim=-1)[:, None, :].to(dtype) for x in self.angles(positions))  # type: ignore[return-value]

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions [T], float32 [T, head_dim / 2]."""
        if positions.device not in self._inverse:
            self._inverse[positions.device] = self._inverse[torch.device("cpu")].to(positions.device)
        angles = positions.float()[:, None] * self._inverse[positions.device]
        return angles.cos() * self.scale, angles.sin() * self.scale
