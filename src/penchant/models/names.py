"""What the layers of a decoder are called, for options; without torch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

__all__ = ["TARGETS", "decoder_start", "targets_of"]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# What the same layers are called elsewhere: GPT-2; T5; BART, Marian; GPT-NeoX; BERT.
_OTHERS = (
    ("c_attn", "c_proj", "c_fc"),
    ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo"),
    ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    ("query", "key", "value", "dense"),
)


def targets_of(layers: Collection[str]) -> tuple[str, ...]:
    """Of a model's layers, by the last parts of their names, those that adapters usually go on; () where none is."""
    found = [tuple(name for name in names if name in layers) for names in (TARGETS, *_OTHERS)]
    return max(found, key=len)


def decoder_start(model: Any) -> int | None:
    """The token that a sequence-to-sequence model's decoder begins with; None for other models."""
    if getattr(model, "kind", None) != "seq2seq":
        return None
    return int(model.config.decoder_start_token_id or 0)
