"""The passes of `models/kernels` in PyTorch: what they compute, in float32, rounded once to the tensors' own format.

On CUDA `torch.compile` makes one kernel of each, where it works; elsewhere they run as they stand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from penchant.runtime.cards import no_compiler

__all__ = ["compiled", "log_probs", "log_probs_backward", "norm", "norm_backward", "swiglu", "swiglu_backward", "turn"]

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """One kernel on CUDA where torch.compile works; its first argument tells the device. It may be differentiated."""

    @functools.cache
    def fast() -> Callable[P, R]:
        return torch.compile(function, dynamic=True)

    @functools.wraps(function)
    def call(*args: P.args, **more: P.kwargs) -> R:
        first: Any = args[0]
        return (fast() if first.is_cuda and not no_compiler() else function)(*args, **more)

    return call


@compiled
def norm(x: Tensor, add: Tensor | None, gain: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x + add, its RMSNorm, and 1 / rms, float32 [T]."""
    total = x if add is None else x + add
    wide = total.float()
    inverse = torch.rsqrt(wide.square().mean(-1) + eps)
    return total, gain * (wide * inverse[:, None]).to(x.dtype), inverse


@compiled
def norm_backward(
    d_out: Tensor, d_total: Tensor | None, total: Tensor, gain: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the sum [T, width] and of the gain [width]."""
    unit, wide = total.float() * inverse[:, None], d_out.float()
    scaled = wide * gain.float()
    d_sum = inverse[:, None] * (scaled - unit * (scaled * unit).mean(-1, keepdim=True))
    if d_total is not None:
        d_sum = d_sum + d_total.float()
    return d_sum.to(total.dtype), (wide * unit).sum(0).to(gain.dtype)


@compiled
def turn(x: Tensor, cos: Tensor, sin: Tensor, scale: float = 1.0) -> Tensor:
    """RoPE of heads [..., width], whose halves are turned against each other, times `scale`."""
    a, b = x.float().chunk(2, dim=-1)
    return (torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1) * scale).to(x.dtype)


@compiled
def swiglu(both: Tensor) -> Tensor:
    """silu(gate) * up of [T, 2 * width]."""
    gate, up = both.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


@compiled
def swiglu_backward(d_out: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of `swiglu`, and what it gave."""
    gate, up = both.chunk(2, dim=-1)
    x, s, d = gate.float(), torch.sigmoid(gate.float()), d_out.float()
    d_both = torch.cat([d * up.float() * s * (1 + x * (1 - s)), d * x * s], dim=-1).to(both.dtype)
    return d_both, torch.nn.functional.silu(gate) * up


@compiled
def log_probs(logits: Tensor, labels: Tensor, scale: float, entropy: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """log p(label), log sum exp and (where asked for) the entropy of logits * scale, float32 [N] each."""
    wide = logits.float() * scale
    total = torch.logsumexp(wide, -1)
    logprob = wide.gather(1, labels[:, None]).squeeze(1) - total
    if not entropy:
        return logprob, total, None
    return logprob, total, total - (torch.exp(wide - total[:, None]) * wide.nan_to_num(neginf=0.0)).sum(-1)


@compiled
def log_probs_backward(
    logits: Tensor,
    labels: Tensor,
    scale: float,
    saved: tuple[Tensor, Tensor | None],
    grads: tuple[Tensor, Tensor | None],
) -> Tensor:
    """The gradient of the logits [N, vocabulary], in their format."""
    (total, entropy), (d_logprob, d_entropy) = saved, grads
    log_p = logits.float() * scale - total[:, None]
    p = torch.exp(log_p)
    here = torch.arange(logits.shape[-1], device=logits.device) == labels[:, None]
    d = (here.float() - p) * d_logprob[:, None]
    if entropy is not None and d_entropy is not None:
        d = d - p * (log_p.nan_to_num(neginf=0.0) + entropy[:, None]) * d_entropy[:, None]
    return (d * scale).to(logits.dtype)
