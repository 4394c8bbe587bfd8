"""What a decoder's block is made of, with backwards by hand: they keep little and sweep memory once.

Each is one `torch.autograd.Function` over `models/kernels`; attention goes through batched matrix products over blocks
of queries, so that keys to come are neither multiplied nor kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from penchant.models import kernels
from penchant.models.attention import Layout

__all__ = ["add_norm", "attention", "swiglu"]

KEEP = 256  # rows up to so many tokens keep their attention weights for the backward; longer ones make them again


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Tensor | None, gain: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        total, out, inverse = kernels.norm(x.contiguous(), None if add is None else add.contiguous(), gain, eps)
        ctx.save_for_backward(total, gain, inverse)
        ctx.has_add = add is not None
        ctx.set_materialize_grads(False)
        return (total.view_as(total) if add is None else total), out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        total, gain, inverse = ctx.saved_tensors
        d_total, d_out = grads
        assert d_out is not None
        d_total = None if d_total is None else d_total.contiguous()
        d_sum, d_gain = kernels.norm_backward(d_out.contiguous(), d_total, total, gain, inverse)
        return d_sum, d_sum if ctx.has_add else None, d_gain, None


def add_norm(x: Tensor, add: Tensor | None, gain: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The residual stream x + add [T, hidden], and its RMSNorm (Zhang & Sennrich 2019)."""
    return _AddNorm.apply(x, add, gain, eps)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        both = both.contiguous()
        ctx.save_for_backward(both)
        return kernels.swiglu(both)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return kernels.swiglu_backward(grads[0].contiguous(), *ctx.saved_tensors)


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up of [T, 2 * width], gate and up side by side (Shazeer 2020)."""
    return _SwiGLU.apply(both)


def _blocks(length: int, window: int) -> list[tuple[int, int, int]]:
    """(first query, end, first key seen) of each block, the last one first: it writes every key's gradient."""
    size = 64 if length <= 512 else 128
    cut = [(a, min(a + size, length)) for a in range(0, length, size)]
    return [(a, b, max(0, a - window + 1) if window else 0) for a, b in reversed(cut)]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, layout: Layout, groups: int, width: int, window: int
    ) -> Tensor:
        group = qkv.shape[1] // width // groups - 2
        inner, part = groups * group * width, groups * width
        ctx.sizes = layout, groups, group, width, window
        place = layout.place
        rows = [layout.new_rows(qkv, groups, n, width) for n in (group, 1, 1)]
        kernels.place_heads(qkv[:, :inner], rows[0], place, (cos, sin), width**-0.5)
        kernels.place_heads(qkv[:, inner : inner + part], rows[1], place, (cos, sin))
        kernels.place_heads(qkv[:, inner + part :], rows[2], place, None)
        q, k, v = (r.view(layout.rows * groups, -1, width) for r in rows)
        out, kept = torch.empty_like(q), []
        for a, b, low in _blocks(layout.longest, window):
            weights = _weights(q, k, (a, b, low), group, window)
            out[:, a * group : b * group] = torch.bmm(weights, v[:, low:b])
            kept.append(weights)
        keep = kept if layout.longest <= KEEP else []
        ctx.save_for_backward(q, k, v, cos, sin, *keep)
        flat = qkv.new_empty(len(qkv), inner)
        kernels.gather_heads(out.view(rows[0].shape), flat, place, None)
        return flat

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, cos, sin, *kept = ctx.saved_tensors
        layout, groups, group, width, window = ctx.sizes
        d_rows = layout.new_rows(q, groups, group, width)
        kernels.place_heads(grads[0].contiguous(), d_rows, layout.place, None)
        d_out = d_rows.view(q.shape)
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for number, (a, b, low) in enumerate(_blocks(layout.longest, window)):
            mine = slice(a * group, b * group)
            weights = kept[number] if kept else _weights(q, k, (a, b, low), group, window)
            d = d_out[:, mine]
            d_v[:, low:b] += torch.bmm(weights.transpose(1, 2), d)
            d_scores = torch.bmm(d, v[:, low:b].transpose(1, 2))
            kernels.causal_softmax_backward(weights, d_scores, a - low, group, window)
            d_q[:, mine] = torch.bmm(d_scores, k[:, low:b])
            d_k[:, low:b] += torch.bmm(d_scores.transpose(1, 2), q[:, mine])
        inner, part = groups * group * width, groups * width
        d_qkv = q.new_empty(len(grads[0]), inner + 2 * part)
        shape = (layout.rows, groups, layout.longest, 1, width)
        kernels.gather_heads(d_q.view(d_rows.shape), d_qkv[:, :inner], layout.place, (cos, sin), width**-0.5)
        kernels.gather_heads(d_k.view(shape), d_qkv[:, inner : inner + part], layout.place, (cos, sin))
        kernels.gather_heads(d_v.view(shape), d_qkv[:, inner + part :], layout.place, None)
        return d_qkv, None, None, None, None, None, None


def _weights(q: Tensor, k: Tensor, block: tuple[int, int, int], group: int, window: int) -> Tensor:
    a, b, low = block
    weights = torch.bmm(q[:, a * group : b * group], k[:, low:b].transpose(1, 2))
    kernels.causal_softmax(weights, a - low, group, window)
    return weights


def attention(
    qkv: Tensor, angles: tuple[Tensor, Tensor], layout: Layout, groups: int, width: int, window: int = 0
) -> Tensor:
    """Causal grouped-query attention with RoPE within each sequence of a flat batch.

    Args:
        qkv: [T, (H + 2 * groups) * width]: queries, keys and values side by side, before RoPE.
        angles: cosine and sine of each token's position, float32 [T, width / 2].
        window: how many tokens up to itself a token sees; 0 for all.

    Returns:
        [T, H * width].
    """
    return _Attention.apply(qkv, *angles, layout, groups, width, window)
