"""Sampling's distributions: inverse-CDF draws, and top-k and top-p warps of them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw", "warp"]


def warp(logprobs: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Keep the k likeliest tokens, and the fewest that hold `top_p` of the mass (Holtzman et al. 2020).

    Args:
        logprobs: [B, vocabulary]; renormalised on return.
    """
    if top_k > 0:
        floor = logprobs.topk(min(top_k, logprobs.shape[-1]), dim=-1).values[:, -1:]
        logprobs = logprobs.masked_fill(logprobs < floor, float("-inf"))
    if top_p < 1.0:
        ordered, index = torch.log_softmax(logprobs, -1).sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        cut = torch.zeros_like(ordered, dtype=torch.bool).scatter(-1, index, before >= top_p)
        logprobs = logprobs.masked_fill(cut, float("-inf"))
    return torch.log_softmax(logprobs, -1)


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """One token a row by the inverse of the cumulative distribution.

    A token whose probability is 0 is never drawn, also where the uniform number meets the sum's rounding.

    Args:
        logprobs: float32 [B, vocabulary]; uniforms: float64 [B] in [0, 1).
    """
    mass = logprobs.double().exp().cumsum(-1)
    total = mass[:, -1]
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(mass, target[:, None], right=True).squeeze(1)
