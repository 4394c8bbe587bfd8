"""What a decoder's block is made of, with backwards by hand: they keep little and sweep memory once.

Each is one `torch.autograd.Function` over `models/kernels`; attention goes through batched matrix products over blocks
of queries, so that most keys to come are neither multiplied nor kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penchant.models import kernels
from penchant.models.buckets import Bucket

__all__ = ["add_norm", "attention"]

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


def _blocks(bucket: Bucket, group: int, groups: int, window: int) -> Iterator[tuple[slice, slice, kernels.Seen]]:
    """Queries, the keys they see, and the mask of each block; the last block first, since it reaches every key."""
    size = 64 if bucket.longest <= 512 else 128
    for a in reversed(range(0, bucket.longest, size)):
        b = min(a + size, bucket.longest)
        low = max(0, bucket.reach + a - window + 1) if window else 0
        start = None if bucket.start is None else (bucket.start - low).clamp_min_(0)
        seen = kernels.Seen(bucket.reach + a - low, group, window, start, groups)
        yield slice(a * group, b * group), slice(low, bucket.reach + b), seen


def _weights(q: Tensor, k: Tensor, seen: kernels.Seen) -> Tensor:
    weights = torch.bmm(q, k.transpose(1, 2))
    kernels.causal_softmax(weights, seen)
    return weights


class _Attention(torch.autograd.Function):
    """Buckets of sequences in turn, each over blocks of queries."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, unfolded: Sequence[Bucket], shape: _Shape) -> Tensor:
        flat = qkv.new_empty(len(qkv), shape.inner)
        saved: list[Tensor] = []
        for bucket in unfolded:
            q, k, v = shape.rows_of(qkv, (cos, sin), bucket)
            out = torch.empty_like(q)
            kept = []
            for mine, theirs, seen in _blocks(bucket, shape.group, shape.groups, shape.window):
                weights = _weights(q[:, mine], k[:, theirs], seen)
                out[:, mine] = torch.bmm(weights, v[:, theirs])
                kept.append(weights)
            kernels.gather_heads(shape.unmerged(out, bucket), flat, (bucket.token, bucket.place), None)
            saved += [q, k, v, *(kept if bucket.longest <= KEEP else [])]
        ctx.unfolded, ctx.shape = unfolded, shape
        ctx.save_for_backward(cos, sin, *saved)
        return flat

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (cos, sin, *saved), shape = ctx.saved_tensors, ctx.shape
        d_flat = grads[0].contiguous()
        d_qkv = d_flat.new_empty(len(d_flat), shape.inner + 2 * shape.part)
        shared = None
        for bucket in ctx.unfolded:
            q, k, v, *saved = saved
            d_rows = bucket.new_rows(q, shape.groups, shape.group, shape.width)
            kernels.place_heads(d_flat, d_rows, (bucket.token, bucket.place), None)
            d_out = shape.merged(d_rows)
            d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for mine, theirs, seen in _blocks(bucket, shape.group, shape.groups, shape.window):
                weights, saved = (
                    (saved[0], saved[1:])
                    if bucket.longest <= KEEP
                    else (_weights(q[:, mine], k[:, theirs], seen), saved)
                )
                d_v[:, theirs] += torch.bmm(weights.transpose(1, 2), d_out[:, mine])
                d_scores = torch.bmm(d_out[:, mine], v[:, theirs].transpose(1, 2))
                kernels.causal_softmax_backward(weights, d_scores, seen)
                d_q[:, mine] = torch.bmm(d_scores, k[:, theirs])
                d_k[:, theirs] += torch.bmm(d_scores.transpose(1, 2), q[:, mine])
            shared = shape.collect((d_q, d_k, d_v), d_qkv, shared, (cos, sin), bucket)
        if shared is not None:
            d_qkv[:, shape.inner :] += shared
        return d_qkv, None, None, None, None


@dataclass(frozen=True)
class _Shape:
    """Heads of one attention: `groups` keys, `group` queries each, `width` wide; what `window` they see."""

    groups: int
    group: int
    width: int
    window: int

    @property
    def inner(self) -> int:
        return self.groups * self.group * self.width

    @property
    def part(self) -> int:
        return self.groups * self.width

    def merged(self, rows: Tensor) -> Tensor:
        """[S, groups, L, group, width] -> [S * groups, L * group, width]."""
        return rows.view(len(rows) * self.groups, -1, self.width)

    def unmerged(self, x: Tensor, bucket: Bucket) -> Tensor:
        """The queries' rows back in five dimensions."""
        return x.view(bucket.rows, self.groups, bucket.longest, self.group, self.width)

    def rows_of(self, qkv: Tensor, angles: kernels.Angles, bucket: Bucket) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (turned and scaled), keys (turned) and values as rows, prefixes before their own."""
        a, b = self.inner, self.inner + self.part
        q = bucket.new_rows(qkv, self.groups, self.group, self.width)
        k, v = (bucket.new_rows(qkv, self.groups, 1, self.width, keys=True) for _ in range(2))
        kernels.place_heads(qkv[:, :a], q, (bucket.token, bucket.place), angles, self.width**-0.5)
        for at in ((bucket.token, bucket.key_place), bucket.prefix):
            if at is not None:
                kernels.place_heads(qkv[:, a:b], k, at, angles)
                kernels.place_heads(qkv[:, b:], v, at, None)
        return self.merged(q), self.merged(k), self.merged(v)

    def collect(
        self,
        d: tuple[Tensor, Tensor, Tensor],
        d_qkv: Tensor,
        shared: Tensor | None,
        angles: kernels.Angles,
        bucket: Bucket,
    ) -> Tensor | None:
        """The transpose of `rows_of`; what prefixes get from many sequences is summed in float32 in `shared`."""
        a, b, keys = self.inner, self.inner + self.part, bucket.reach + bucket.longest
        d_k, d_v = (x.view(bucket.rows, self.groups, keys, 1, self.width) for x in d[1:])
        own = (bucket.token, bucket.key_place)
        at = (bucket.token, bucket.place)
        kernels.gather_heads(self.unmerged(d[0], bucket), d_qkv[:, :a], at, angles, self.width**-0.5)
        kernels.gather_heads(d_k, d_qkv[:, a:b], own, angles)
        kernels.gather_heads(d_v, d_qkv[:, b:], own, None)
        if bucket.prefix is None:
            return shared
        token, place = bucket.prefix
        found = d_qkv.new_empty(len(token), 2 * self.part)
        turned = angles[0][token], angles[1][token]
        kernels.gather_heads(d_k, found[:, : self.part], (None, place), turned)
        kernels.gather_heads(d_v, found[:, self.part :], (None, place), None)
        if shared is None:
            shared = torch.zeros(len(d_qkv), 2 * self.part, dtype=torch.float32, device=d_qkv.device)
        return shared.index_add_(0, token, found.float())


def attention(
    qkv: Tensor, angles: kernels.Angles, unfolded: Sequence[Bucket], groups: int, width: int, window: int = 0
) -> Tensor:
    """Causal grouped-query attention with RoPE within each sequence of a flat batch.

    Args:
        qkv: [T, (H + 2 * groups) * width]: queries, keys and values side by side, before RoPE.
        angles: cosine and sine of each token's position, float32 [T, width / 2].
        unfolded: how the T tokens unfold into rows (`models.buckets`).
        window: how many tokens up to itself a token sees; 0 for all.

    Returns:
        [T, H * width].
    """
    shape = _Shape(groups, qkv.shape[1] // width // groups - 2, width, window)
    return _Attention.apply(qkv, *angles, unfolded, shape)
