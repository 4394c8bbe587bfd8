"""Causal attention over a flat batch of sequences of different lengths.

On a CPU, rows of up to 1,024 tokens go through two batched matrix products around a softmax; longer ones, and all on
CUDA, through torch's fused kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layout", "causal_attention", "rotate"]


@dataclass(frozen=True)
class Layout:
    """How T flat tokens unfold into S rows of at most L tokens.

    Attributes:
        rows, longest: S and L.
        gather: int64 [S * L], the flat token that fills each place (a repeated token where there is none), or None
            where all sequences have the same length, so that unfolding is a view.
        scatter: int64 [T], the place of each flat token, or None likewise.
        mask: [L, L], 0 on and below the diagonal and -inf above, in the model's dtype.
    """

    rows: int
    longest: int
    gather: Tensor | None
    scatter: Tensor | None
    mask: Tensor

    @classmethod
    def of(cls, lengths: Tensor, dtype: torch.dtype) -> Layout:
        """The layout of sequences of these lengths (int64 [S])."""
        rows, longest = len(lengths), int(lengths.max())
        mask = torch.full((longest, longest), float("-inf"), dtype=dtype, device=lengths.device).triu_(1)
        if int(lengths.min()) == longest:
            return cls(rows, longest, None, None, mask)
        starts = torch.cumsum(lengths, 0) - lengths
        steps = torch.arange(longest, device=lengths.device)
        inside = steps < lengths[:, None]
        gather = torch.where(inside, starts[:, None] + steps, starts[:, None]).reshape(-1)
        return cls(rows, longest, gather, inside.reshape(-1).nonzero().squeeze(1), mask)

    def unfold(self, flat: Tensor) -> Tensor:
        """[T, H, D] -> [S, H, L, D]."""
        flat = flat if self.gather is None else flat.index_select(0, self.gather)
        return flat.view(self.rows, self.longest, *flat.shape[1:]).transpose(1, 2)

    def fold(self, rows: Tensor) -> Tensor:
        """[S, H, L, D] -> [T, H * D]."""
        flat = rows.transpose(1, 2).reshape(self.rows * self.longest, -1)
        return flat if self.scatter is None else flat.index_select(0, self.scatter)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [T, H, D] by its position's angles."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return torch.addcmul(x * cos, turned, sin)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, layout: Layout, window: int | None = None) -> Tensor:
    """softmax(q k' / sqrt(D)) v within each sequence, each token seeing those up to itself.

    Args:
        q: [T, H, D]; k, v: [T, G, D] with H a multiple of G.
        window: how many tokens, itself included, a token sees; None for all before it.

    Returns:
        [T, H * D].
    """
    q, k, v = layout.unfold(q), layout.unfold(k), layout.unfold(v)
    mask = layout.mask
    if window is not None and window < layout.longest:
        mask = mask.masked_fill(torch.ones_like(mask, dtype=torch.bool).tril(-window), float("-inf"))
    if q.is_cuda or layout.longest > 1024:
        given = {"is_causal": True} if mask is layout.mask else {"attn_mask": mask}
        return layout.fold(torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True, **given))
    rows, heads, length, width = q.shape
    group = heads // k.shape[1]
    if group > 1:
        q = q.reshape(rows, k.shape[1], group * length, width)
    scores = torch.matmul(q * width**-0.5, k.transpose(-1, -2)).view(rows, -1, group, length, length)
    weights = torch.softmax(scores + mask, dim=-1).view(rows, -1, group * length, length)
    return layout.fold(torch.matmul(weights, v).reshape(rows, heads, length, width))
