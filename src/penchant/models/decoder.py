"""A Llama-family decoder on flat token batches; parameters carry Hugging Face's names.

One forward serves training, prefill and decoding: what differs is the `attend` function that it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penchant.models.attention import Layout, causal_attention, rotary, rotate
from penchant.models.config import DecoderConfig

__all__ = ["Attend", "Decoder"]

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # (layer, q [T,H,D], k [T,G,D], v [T,G,D]) -> [T, H*D]


class Norm(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019) with a gain."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class Attention(nn.Module):
    """Projections of grouped-query attention, the three read as one matrix."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        inner, group = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, group, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, group, bias=False)
        self.o_proj = nn.Linear(inner, c.hidden_size, bias=False)
        self.split, self.width = (inner, group, group), c.head_dim
        self.fused: Tensor | None = None

    def weight(self) -> Tensor:
        """The stacked projection [inner + 2 * group, hidden]; derived, never saved."""
        if self.fused is not None:
            return self.fused
        return torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        q, k, v = (
            part.reshape(len(x), -1, self.width) for part in F.linear(x, self.weight()).split(self.split, dim=-1)
        )
        return self.o_proj(attend(layer, rotate(q, cos, sin), rotate(k, cos, sin), v))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020), gate and up read as one matrix."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)
        self.fused: Tensor | None = None

    def weight(self) -> Tensor:
        """The stacked projection [2 * intermediate, hidden]; derived, never saved."""
        return self.fused if self.fused is not None else torch.cat([self.gate_proj.weight, self.up_proj.weight])

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.weight()).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), FeedForward(c)
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, layer, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Block(c) for _ in range(c.num_hidden_layers))
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)


class Decoder(nn.Module):
    """The decoder; `hidden` gives states and `head` the matrix that turns them into logits."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def initialise(self, seed: int) -> Decoder:
        """Draw all matrices from N(0, initializer_range), the same for a seed on every machine."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                if p.dim() > 1:
                    p.copy_(torch.randn(p.shape, generator=generator) * self.config.initializer_range)
        return self

    @property
    def head(self) -> Tensor:
        """The output matrix [vocabulary, hidden]."""
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.model.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.embed_tokens.weight.device

    def hidden(self, inputs: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Hidden states [T, hidden] of flat token ids [T] at their positions [T]."""
        c = self.config
        x = self.model.embed_tokens(inputs)
        cos, sin = rotary(positions, c.head_dim, c.rope_theta, x.dtype)
        for number, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, number, attend)
        return self.model.norm(x)

    def forward(self, inputs: Tensor, positions: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states of whole sequences: inputs, positions [T], lengths [S] -> [T, hidden]."""
        layout = Layout.of(lengths, self.dtype)
        return self.hidden(inputs, positions, lambda _, q, k, v: causal_attention(q, k, v, layout))

    @contextlib.contextmanager
    def fused(self) -> Iterator[None]:
        """Hold the stacked projections while weights do not change (sampling)."""
        parts: list[Any] = [part for layer in self.model.layers for part in (layer.self_attn, layer.mlp)]
        with torch.no_grad():
            for part in parts:
                part.fused = part.weight()
            try:
                yield
            finally:
                for part in parts:
                    part.fused = None
