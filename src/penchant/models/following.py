"""Weights that follow others slowly: target networks and averaged policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from penchant.runtime.shard import local, own, whole

__all__ = ["Following"]


class Following:
    """slow <- slow + rate (fast - slow) after each update (Polyak & Juditsky 1992), kept in float32.

    In bfloat16 such steps are mostly smaller than half a unit of rounding and would be lost.
    """

    def __init__(self, rate: float):
        self.rate = rate
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}  # slow and fast weights, as the models hold them
        self.exact: dict[str, Tensor] = {}  # the slow ones, float32; this process's parts

    @torch.no_grad()
    def begin(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Take weights by name, (slow, fast) of the same shape each; the slow ones become the fast ones."""
        self.pairs = dict(pairs)
        for name, (slow, fast) in self.pairs.items():
            self.exact[name] = local(fast).detach().float().clone()
            local(slow).copy_(self.exact[name])

    @torch.no_grad()
    def move(self) -> None:
        """One step of the slow weights."""
        for name, (slow, fast) in self.pairs.items():
            local(slow).copy_(self.exact[name].lerp_(local(fast).float(), self.rate))

    def state_dict(self) -> dict[str, Any]:
        """The slow weights, whole; all processes call it."""
        return {name: whole(tensor, self.pairs[name][0]) for name, tensor in self.exact.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from saved ones."""
        for name, (slow, _) in self.pairs.items():
            self.exact[name].copy_(own(state[name], slow))
            local(slow).copy_(self.exact[name])
