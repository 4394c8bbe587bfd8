"""Attention on CUDA: torch's variable-length flash kernel on flat tokens, without padding.

A sequence that goes on from another one (a prompt shared by its pair or group) sees that one's keys, gathered before
its own: the kernel aligns its queries with the last of them.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penchant.models import plain
from penchant.models.buckets import spread
from penchant.models.kernels import Angles
from penchant.runtime.cards import on_cuda, since_ampere

__all__ = ["Flat", "attend", "heads", "usable"]


@functools.cache
def _kernel() -> tuple[Any, dict[str, Any]] | None:
    """The function and the arguments that its version wants; None where this torch has none that will do."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    if "window_size" not in known:
        return None
    return varlen_attn, {"enable_gqa": True} if "enable_gqa" in known else {}


def usable(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether the kernel takes heads of this format and width there: 16 bits, and a card of 2020 or later."""
    if not on_cuda(device) or dtype not in (torch.bfloat16, torch.float16) or width % 8 or width > 256:
        return False
    return since_ampere(device) and _kernel() is not None


@dataclass(frozen=True)
class Flat:
    """Where the queries and the keys of S sequences lie.

    Attributes:
        queries, keys: int32 [S + 1], where each begins, and the end.
        longest, reach: the most queries and keys of one.
        gather: int64 [K], the flat token of each key; None where keys are the tokens as they come.
    """

    queries: Tensor
    keys: Tensor
    longest: int
    reach: int
    gather: Tensor | None

    @classmethod
    def of(cls, lengths: Tensor, prefix: Tensor | None = None) -> Flat:
        """Of sequences of these lengths (int64 [S]) and what each goes on from (int64 [S], -1: nothing)."""
        device, sizes = lengths.device, lengths.cpu().numpy()
        if prefix is None:
            edges = _edges(sizes, device)
            return cls(edges, edges, int(sizes.max()), int(sizes.max()), None)
        before = prefix.cpu().numpy()
        fore = np.where(before >= 0, sizes[before], 0)
        starts = np.cumsum(sizes) - sizes
        row, step = spread(np.zeros(len(sizes), np.int64), fore + sizes)
        token = np.where(step < fore[row], starts[before][row] + step, starts[row] + step - fore[row])
        gather = torch.from_numpy(token).to(device)
        return cls(
            _edges(sizes, device), _edges(fore + sizes, device), int(sizes.max()), int((fore + sizes).max()), gather
        )


def _edges(sizes: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)).to(device)


class _Gather(torch.autograd.Function):
    """x[index]; what a row gets from many places is summed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (index,), d = ctx.saved_tensors, grads[0]
        total = torch.zeros(ctx.rows, *d.shape[1:], dtype=torch.float32, device=d.device)
        return total.index_add_(0, index, d.float()).to(d.dtype), None


def heads(qkv: Tensor, angles: Angles, groups: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [T, H, width], keys and values [T, groups, width] of projections side by side, turned by RoPE."""
    part = groups * width
    cos, sin = (x[:, None] for x in angles)
    sizes = (qkv.shape[1] - 2 * part, part, part)
    q, k, v = (x.view(len(qkv), -1, width) for x in qkv.split(sizes, dim=-1))
    return plain.turn(q, cos, sin), plain.turn(k, cos, sin), v


def attend(q: Tensor, k: Tensor, v: Tensor, flat: Flat, window: int = 0) -> Tensor:
    """softmax(q k' / sqrt(width)) v within each sequence [T, H * width], each token seeing those up to itself, or the
    last `window` of them.
    """
    if flat.gather is not None:
        k, v = (_Gather.apply(x, flat.gather) for x in (k, v))
    found = _kernel()
    assert found is not None
    call, more = found
    seen = (window - 1 if window else -1, 0)
    out: Tensor = call(q, k, v, flat.queries, flat.keys, flat.longest, flat.reach, window_size=seen, **more)
    return out.reshape(len(q), -1)
