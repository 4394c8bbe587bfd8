"""Activation checkpointing (Chen et al. 2016): a block keeps its input alone and runs again in the backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from penchant.runtime.shard import blocks

__all__ = ["recompute"]


class _Again:
    """A block's forward that is run again for its gradient; without one it is just run."""

    def __init__(self, forward: Callable[..., Any]):
        self.forward = forward

    def __call__(self, *values: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*values, **named)
        return checkpoint(self.forward, *values, use_reentrant=False, preserve_rng_state=False, **named)


def recompute(model: nn.Module) -> None:
    """Let every block of a model be computed again in the backward: a third more work, and memory for one of them."""
    for block in blocks(model):
        block.forward = _Again(block.forward)
