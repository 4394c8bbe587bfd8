"""Bytes that training a decoder takes, from its shape alone; without torch, so that a plan can be made before."""

from __future__ import annotations

from dataclasses import dataclass

from penchant.models.config import DecoderConfig

__all__ = ["Footprint", "footprint"]

_LOGITS = 1 << 24  # logits of one chunk of the head, as in `models/quantities`
_KEEP = 256  # rows up to so many tokens keep their attention weights, as in `models/functions`
_OVERHEAD = 1.15  # buffers between two uses, and what a backward holds beside what it reads


@dataclass(frozen=True)
class Footprint:
    """Bytes: `weights` once (weights, gradient, masters and the optimizer's moments), `thread` for each row-parallel
    thread, and `token` for each token that is in flight at once.

    Of a thread's, `chunk` are the logits of one chunk of the head; `logits` of them are a token's, so that few tokens
    do not fill it.
    """

    weights: int
    thread: int
    token: int
    chunk: int = 0
    logits: int = 0

    def total(self, threads: int, tokens: int) -> int:
        """With so many tokens in flight in each of so many threads."""
        unused = max(0, self.chunk - tokens * self.logits)
        return self.weights + threads * (self.thread - unused + tokens * self.token)


def footprint(config: DecoderConfig, wide: bool, length: int, checkpointed: bool = False) -> Footprint:
    """What training takes.

    Args:
        wide: weights in float32 (else 16 bits with float32 masters).
        length: tokens of a row.
        checkpointed: blocks keep their input alone and are computed again in the backward.
    """
    size = 4 if wide else 2
    c, parameters = config, config.parameters()
    inner, group = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    stacked = (inner + 2 * group + 2 * c.intermediate_size) * c.hidden_size  # derived in a block, one at a time
    attention = c.num_attention_heads * (length / 2 + 64) if length <= _KEEP else 0
    block = 4 * c.hidden_size + 2 * (inner + group) + inner + 2 * c.intermediate_size + attention
    layers = c.num_hidden_layers
    kept = layers * c.hidden_size + 2 * block if checkpointed else layers * block
    moments = 8 + (4 if wide else 4 + 4 + size)  # two; gradient, or master, one for the update and the weight's own
    head, chunk = c.vocab_size * c.hidden_size * (4 + size), 2 * _LOGITS * size
    return Footprint(
        weights=parameters * (size + moments),
        thread=parameters * size + stacked * size + head + chunk,
        token=int(_OVERHEAD * size * (kept + 6 * c.hidden_size)),
        chunk=chunk,
        logits=2 * c.vocab_size * size,
    )
