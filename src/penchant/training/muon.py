"""Muon (Jordan et al. 2024): momentum whose matrices are made nearly orthogonal, those of one shape in one product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from penchant.runtime.shard import own, whole

__all__ = ["Muon", "orthogonal"]

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: the steepest at zero that still converges


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: the singular values of each matrix are moved close to 1 (to about 0.7 to 1.2).

    Args:
        matrices: [n, a, b] with a <= b; products are made in its dtype.

    Returns:
        [n, a, b].
    """
    a, b, c = _QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon:
    """Moves matrices by the orthogonal part of their Nesterov momentum, scaled to AdamW's size (Liu et al. 2025).

    Args:
        masters: this process's part of each matrix, float32; its `grad` is read.
        weights: the model's parameters that they belong to, which know how a matrix is shared among processes; their
            dtype is what Newton-Schulz is done in.
    """

    def __init__(
        self,
        masters: Sequence[Tensor],
        weights: Sequence[Tensor],
        momentum: float,
        weight_decay: float,
    ):
        self.masters, self.weights = list(masters), list(weights)
        self.momentum, self.decay = momentum, weight_decay
        self.buffers = [torch.zeros_like(m) for m in self.masters]

    def step(self, rate: float, scale: float) -> None:
        """Move all matrices that have a gradient; `scale` multiplies it first (clipping)."""
        keep, share = self.momentum, (1 - self.momentum) * scale
        alike: dict[tuple[int, ...], list[int]] = {}
        updates: dict[int, Tensor] = {}
        for number, (master, buffer) in enumerate(zip(self.masters, self.buffers, strict=True)):
            if master.grad is None:
                continue
            buffer.mul_(keep).add_(master.grad, alpha=share)
            weight = self.weights[number]
            update = (buffer * keep).add_(master.grad, alpha=share).to(weight.dtype)
            updates[number] = whole(update, weight)
            alike.setdefault(tuple(sorted(updates[number].shape)), []).append(number)
        for shape, numbers in alike.items():
            found = orthogonal(torch.stack([_lying(updates[n]) for n in numbers]))
            size = rate * 0.2 * max(shape) ** 0.5
            for n, matrix in zip(numbers, found, strict=True):
                upright = matrix if matrix.shape == updates[n].shape else matrix.mT
                self.masters[n].mul_(1 - rate * self.decay).add_(own(upright, self.weights[n]), alpha=-size)

    def state_dict(self) -> dict[str, Any]:
        """The momentum of each matrix, whole."""
        return {"momentum": [whole(b, w) for b, w in zip(self.buffers, self.weights, strict=True)]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved momentum."""
        for buffer, weight, saved in zip(self.buffers, self.weights, state["momentum"], strict=True):
            buffer.copy_(own(saved, weight))


def _lying(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
