"""A Llama-family decoder on flat token batches; parameters carry Hugging Face's names.

One forward serves training, prefill and decoding: what differs is the `mix` function that it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penchant.models import flash, functions, linear
from penchant.models.attention import Layout, causal_attention, rotate
from penchant.models.buckets import buckets
from penchant.models.config import DecoderConfig
from penchant.models.rope import Rope

__all__ = ["Attend", "Decoder", "Given"]

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # (layer, q [T,H,D], k [T,G,D], v [T,G,D]) -> [T, H*D]
Mix = Callable[[int, Tensor], Tensor]  # (layer, queries, keys and values before RoPE [T, (H+2G)*D]) -> [T, H*D]

# A linear layer's number (four a layer: queries keys and values, output, gate and up, down) -> what it gives.
Given = Callable[[int], Tensor]


class Norm(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019) with a gain."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor, add: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x + add, and its norm."""
        return functions.add_norm(x, add, self.weight, self.eps)


class Together(nn.Module):
    """Linear layers over the same input, read as one matrix while they are plain (an adapter is called, not read)."""

    names: tuple[str, ...]
    held: tuple[Tensor, Tensor | None] | None = None

    def parts(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """The matrices and biases. None where one of the layers is not plain."""
        parts: list[Any] = [getattr(self, name) for name in self.names]
        if any(type(part) is not nn.Linear for part in parts):
            return None
        return [part.weight for part in parts], [part.bias for part in parts if part.bias is not None]

    def stacked(self) -> tuple[Tensor, Tensor | None] | None:
        """The matrices and biases one over the other; derived, never saved. None where one of them is not plain."""
        found = self.parts()
        return None if found is None else (torch.cat(found[0]), torch.cat(found[1]) if found[1] else None)

    def project(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """What the layers give for x [T, hidden], side by side; `out` is that, where it is known."""
        if self.held is not None and out is None:
            return F.linear(x, *self.held)
        found = self.parts()
        if found is None:
            return torch.cat([getattr(self, name)(x) for name in self.names], dim=-1)
        return linear.stacked_linear(x, *found, out)


def _linear(layer: Any, x: Tensor, out: Tensor | None) -> Tensor:
    if type(layer) is not nn.Linear:
        return layer(x)
    return linear.stacked_linear(x, [layer.weight], [] if layer.bias is None else [layer.bias], out)


class Attention(Together):
    """Projections of grouped-query attention; Qwen 3 normalises queries and keys a head."""

    names = ("q_proj", "k_proj", "v_proj")

    def __init__(self, c: DecoderConfig):
        super().__init__()
        inner, group = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, inner, bias=c.qkv_bias)
        self.k_proj = nn.Linear(c.hidden_size, group, bias=c.qkv_bias)
        self.v_proj = nn.Linear(c.hidden_size, group, bias=c.qkv_bias)
        self.o_proj = nn.Linear(inner, c.hidden_size, bias=c.attention_bias)
        self.q_norm = Norm(c.head_dim, c.rms_norm_eps) if c.qk_norm else None
        self.k_norm = Norm(c.head_dim, c.rms_norm_eps) if c.qk_norm else None
        self.widths, self.width = (inner, group, group), c.head_dim

    def forward(self, x: Tensor, layer: int, mix: Mix, given: Given | None = None) -> Tensor:
        qkv = self.project(x, None if given is None else given(4 * layer))
        if self.q_norm is not None and self.k_norm is not None:
            q, k, v = qkv.split(self.widths, dim=-1)
            q, k = (norm(part.reshape(-1, self.width))[1] for norm, part in ((self.q_norm, q), (self.k_norm, k)))
            qkv = torch.cat([q.view(len(x), -1), k.view(len(x), -1), v], dim=-1)
        return _linear(self.o_proj, mix(layer, qkv), None if given is None else given(4 * layer + 1))


class FeedForward(Together):
    """SwiGLU (Shazeer 2020)."""

    names = ("gate_proj", "up_proj")

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=c.mlp_bias)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=c.mlp_bias)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=c.mlp_bias)

    def forward(self, x: Tensor, layer: int, given: Given | None = None) -> Tensor:
        both = self.project(x, None if given is None else given(4 * layer + 2))
        down: Any = self.down_proj
        if type(down) is nn.Linear:
            out = None if given is None else given(4 * layer + 3)
            return linear.gated_linear(both, down.weight, down.bias, out)
        return down(linear.swiglu(both))


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), FeedForward(c)
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps)

    def forward(
        self, x: Tensor, add: Tensor | None, layer: int, mix: Mix, given: Given | None = None
    ) -> tuple[Tensor, Tensor]:
        """The residual stream [T, hidden], and what is still to be added to it."""
        x, normed = self.input_layernorm(x, add)
        x, normed = self.post_attention_layernorm(x, self.self_attn(normed, layer, mix, given))
        return x, self.mlp(normed, layer, given)


class Trunk(nn.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, c: DecoderConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Block(c) for _ in range(c.num_hidden_layers))
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)


class Decoder(nn.Module):
    """The decoder; `hidden` gives states and `head` the matrix that turns them into logits."""

    shares_prompts = True  # `forward` takes `prefix`

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.rope = Rope(config.head_dim, config.rope_parameters)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def initialise(self, seed: int) -> Decoder:
        """Draw all matrices from N(0, initializer_range), the same for a seed on every machine; biases are 0."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.dim() > 1:
                    p.copy_(torch.randn(p.shape, generator=generator) * self.config.initializer_range)
                elif name.endswith(".bias"):
                    p.zero_()
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

    def states(self, inputs: Tensor, mix: Mix, given: Given | None = None) -> Tensor:
        """Hidden states [T, hidden] of flat token ids [T]; `given`: what the linear layers give, where it is known."""
        x, add = self.model.embed_tokens(inputs), None
        for number, layer in enumerate(self.model.layers):
            x, add = layer(x, add, number, mix, given)
        return self.model.norm(x, add)[1]

    def hidden(self, inputs: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Hidden states [T, hidden] of flat token ids [T] at their positions [T]."""
        cos, sin = self.rope(positions, torch.float32)
        c = self.config
        width, group = c.head_dim, c.num_key_value_heads * c.head_dim
        widths = (c.num_attention_heads * width, group, group)

        def mix(layer: int, qkv: Tensor) -> Tensor:
            q, k, v = (part.reshape(len(qkv), -1, width) for part in qkv.split(widths, dim=-1))
            q, k = (rotate(part.float(), cos, sin).to(qkv.dtype) for part in (q, k))
            return attend(layer, q, k, v)

        return self.states(inputs, mix)

    def forward(
        self,
        inputs: Tensor,
        positions: Tensor,
        lengths: Tensor,
        prefix: Tensor | None = None,
        given: Given | None = None,
    ) -> Tensor:
        """Hidden states of whole sequences: inputs, positions [T], lengths [S] -> [T, hidden].

        Args:
            prefix: int64 [S], the sequence that each one continues (a shared prompt), -1 for none.
            given: on a CPU, what the linear layers give, where it is known (`models/replay`).
        """
        c = self.config
        if flash.usable(inputs.device, self.dtype, c.head_dim):
            turns, flat = self.rope.angles(positions), flash.Flat.of(lengths, prefix)

            def mix(layer: int, qkv: Tensor) -> Tensor:
                q, k, v = flash.heads(qkv, turns, c.num_key_value_heads, c.head_dim)
                return flash.attend(q, k, v, flat, self.window(layer) or 0)

            return self.states(inputs, mix)
        if inputs.is_cuda and prefix is None:
            layout = Layout.of(lengths, self.dtype)
            return self.hidden(
                inputs, positions, lambda layer, q, k, v: causal_attention(q, k, v, layout, self.window(layer))
            )
        angles, unfolded = self.rope.angles(positions), buckets(lengths, prefix)
        return self.states(
            inputs,
            lambda layer, qkv: functions.attention(
                qkv, angles, unfolded, c.num_key_value_heads, c.head_dim, self.window(layer) or 0
            ),
            given,
        )

    def window(self, layer: int) -> int | None:
        """How many tokens, itself included, a token of that layer sees; None for all before it."""
        return self.config.window(layer)

    @contextlib.contextmanager
    def fused(self) -> Iterator[None]:
        """Hold the stacked projections while weights do not change (sampling)."""
        parts: list[Any] = [part for layer in self.model.layers for part in (layer.self_attn, layer.mlp)]
        with torch.no_grad():
            for part in parts:
                part.held = part.stacked()
            try:
                yield
            finally:
                for part in parts:
                    part.held = None
