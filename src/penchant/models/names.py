"""What the layers of a decoder are called, for options; without torch."""

from __future__ import annotations

from typing import Any, Literal, get_args

__all__ = ["TARGETS", "TargetName", "decoder_start"]

TargetName = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)


def decoder_start(model: Any) -> int | None:
    """The token that a sequence-to-sequence model's decoder begins with; None for other models."""
    if getattr(model, "kind", None) != "seq2seq":
        return None
    return int(model.config.decoder_start_token_id or 0)
