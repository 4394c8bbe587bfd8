"""Models from a shape: transformers' own classes BERT, T5, BART, and the recurrent one; trained behind one face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from penchant.models.hugging_face import Foreign

__all__ = ["KINDS", "from_shape"]

KINDS = {"bert": "masked", "t5": "seq2seq", "bart": "seq2seq", "recurrent": "seq2seq"}


def from_shape(architecture: str, shape: Mapping[str, Any], ids: Mapping[str, int], size: int, seed: int) -> Foreign:
    """A model with random weights.

    Args:
        architecture: one of `KINDS`.
        shape: hidden_size, intermediate_size, num_hidden_layers (of encoder and decoder each), num_attention_heads,
            max_position_embeddings.
        ids: eos and pad tokens, as `eos_token_id`, `pad_token_id`.
        size: tokens of the vocabulary.
    """
    import transformers

    width, inner, layers, heads, places = (
        shape[name]
        for name in (
            *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
            "max_position_embeddings",
        )
    )
    eos, pad = ids["eos_token_id"], ids["pad_token_id"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "bert":
            config: Any = transformers.BertConfig(
                vocab_size=size, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                num_attention_heads=heads, max_position_embeddings=places, pad_token_id=pad,
            )  # fmt: skip
            model: Any = transformers.BertForMaskedLM(config)
        elif architecture == "t5":
            config = transformers.T5Config(  # type: ignore[call-arg]
                vocab_size=size, d_model=width, d_ff=inner, num_layers=layers, num_heads=heads, d_kv=width // heads,
                pad_token_id=pad, eos_token_id=eos, decoder_start_token_id=pad,
            )  # fmt: skip
            model = transformers.T5ForConditionalGeneration(config)
        elif architecture == "recurrent":
            from penchant.models.recurrent import RecurrentConfig, RecurrentForConditionalGeneration

            config = RecurrentConfig(
                size, width, layers, pad_token_id=pad, bos_token_id=eos, eos_token_id=eos, decoder_start_token_id=eos
            )
            model = RecurrentForConditionalGeneration(config)
        else:
            config = transformers.BartConfig(
                vocab_size=size, d_model=width, encoder_ffn_dim=inner, decoder_ffn_dim=inner, encoder_layers=layers,
                decoder_layers=layers, encoder_attention_heads=heads, decoder_attention_heads=heads,
                max_position_embeddings=places, pad_token_id=pad, bos_token_id=eos, eos_token_id=eos,
                decoder_start_token_id=eos, forced_eos_token_id=None,
            )  # fmt: skip
            model = transformers.BartForConditionalGeneration(config)
    return Foreign(model, KINDS[architecture])
