"""Linear layers of a decoder's block that keep less for the backward than autograd would, or know what they give.

A step's memory is mostly what its blocks keep: what is made again by one sweep, or one copy, is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from penchant.models import gemm, kernels

__all__ = ["gated_linear", "stacked_linear", "swiglu"]


def _weight_gradients(d: Tensor, x: Tensor, weight: bool, bias: bool) -> tuple[Tensor | None, Tensor | None]:
    return gemm.matmul(d.T, x) if weight else None, d.sum(0, dtype=torch.float32).to(d.dtype) if bias else None


class _GatedLinear(torch.autograd.Function):
    """Keeps gate and up: their product, a third of what a block would hold, is made again on the way back."""

    @staticmethod
    def forward(ctx: Any, both: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
        both = both.contiguous()
        ctx.save_for_backward(both, weight)
        return gemm.linear(kernels.swiglu(both), weight, bias) if out is None else out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        both, weight = ctx.saved_tensors
        d = grads[0].contiguous()
        d_both, x = kernels.swiglu_backward(gemm.matmul(d, weight), both)
        return d_both, *_weight_gradients(d, x, *ctx.needs_input_grad[1:3]), None


def gated_linear(both: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """(silu(gate) * up) W' + b of [T, 2 * width], gate and up side by side (Shazeer 2020); `out` is that, if known."""
    return _GatedLinear.apply(both, weight, bias, out)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        both = both.contiguous()
        ctx.save_for_backward(both)
        return kernels.swiglu(both)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return kernels.swiglu_backward(grads[0].contiguous(), *ctx.saved_tensors)[0]


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up of [T, 2 * width], gate and up side by side (Shazeer 2020)."""
    return _SwiGLU.apply(both)


class _StackedLinear(torch.autograd.Function):
    """Keeps x alone: matrices are stacked again in the backward, where a copy of all of them would wait for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, out: Tensor | None, count: int, *parts: Tensor) -> Tensor:
        weights, biases = parts[:count], parts[count:]
        ctx.save_for_backward(x, *weights)
        ctx.biased = bool(biases)
        if out is not None:
            return out.view_as(out)
        return gemm.linear(x, _stacked(weights), torch.cat(biases) if biases else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, *weights = ctx.saved_tensors
        d, needs, sizes = grads[0].contiguous(), ctx.needs_input_grad, [len(weight) for weight in weights]
        found = _weight_gradients(d, x, any(needs[3 : 3 + len(sizes)]), ctx.biased and any(needs[3 + len(sizes) :]))
        parts = [part for d_all in found[: 1 + ctx.biased] for part in _split(d_all, sizes)]
        return gemm.matmul(d, _stacked(weights)) if needs[0] else None, None, None, *parts


def _stacked(weights: Sequence[Tensor]) -> Tensor:
    return weights[0] if len(weights) == 1 else torch.cat(tuple(weights))


def _split(x: Tensor | None, sizes: Sequence[int]) -> Sequence[Tensor | None]:
    return [None] * len(sizes) if x is None else x.split(list(sizes))


def stacked_linear(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """What linear layers over the same x [T, hidden] give, side by side, as one product; `out` is that, if known."""
    return _StackedLinear.apply(x, out, len(weights), *weights, *biases)
