"""Which scalings of rotary position embeddings there are, and what each needs; without torch, so that sizes can be
checked before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.errors import InputError

__all__ = ["SCALINGS", "check_scaling"]

# What each scaling cannot do without, besides `rope_theta`.
SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}


def check_scaling(rope: Mapping[str, Any]) -> None:
    """Refuse what no angles can be made from.

    Args:
        rope: Hugging Face's `rope_parameters`: `rope_type`, `rope_theta` and what the type asks for.

    Raises:
        InputError: an unknown type, or a value is missing.
    """
    kind = rope.get("rope_type", "default")
    if kind not in SCALINGS:
        raise InputError(f"RoPE of type {kind!r} is not known", f"the types are {', '.join(SCALINGS)}")
    for name in SCALINGS[kind]:
        if not isinstance(rope.get(name), int | float) or rope[name] <= 0:
            raise InputError(f"RoPE of type {kind} needs {name} above 0, not {rope.get(name)!r}", "set it")
    if kind == "llama3" and rope["high_freq_factor"] <= rope["low_freq_factor"]:
        raise InputError("RoPE of type llama3 needs high_freq_factor above low_freq_factor", "set them so")
