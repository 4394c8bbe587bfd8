"""Weights that several processes share: PyTorch's FSDP2, and what a part knows of its whole.

`whole` and `own` are the identity for a weight that is not shared, so that optimizers need not ask.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["blocks", "gathered", "load_state", "local", "own", "shard", "sharded", "state", "whole"]


def sharded(tensor: Any) -> bool:
    """Whether a tensor is a part of one that processes share."""
    module = sys.modules.get("torch.distributed.tensor")  # not loaded: nothing is
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, as a plain one that shares its memory."""
    return tensor.to_local() if sharded(tensor) else tensor  # type: ignore[attr-defined]


def whole(part: Tensor, like: Any) -> Tensor:
    """The whole of which `part` is this process's part, shared as the weight `like` is; all processes call it."""
    if not sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    spread = DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return spread.full_tensor()


def own(full: Tensor, like: Any) -> Tensor:
    """This process's part of a whole tensor, cut as the weight `like` is."""
    if not sharded(like):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None).to_local()


def state(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors by name, whole; all processes call it."""
    return {name: whole(local(t), t) for name, t in model.state_dict().items()}


@torch.no_grad()
def load_state(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill a model with whole tensors by name, of which this process keeps its part."""
    held = model.state_dict()
    if not any(map(sharded, held.values())):
        model.load_state_dict(weights)
        return
    for name, tensor in held.items():
        local(tensor).copy_(own(weights[name], tensor))


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of a model: the modules of its outermost lists (a list within a layer is that layer's own)."""
    found: list[nn.Module] = []
    inside: set[int] = set()
    for module in model.modules():  # from the outside in
        if isinstance(module, nn.ModuleList) and id(module) not in inside:
            found += module
            inside |= {id(inner) for layer in module for inner in layer.modules()}
    return found


def shard(model: nn.Module) -> None:
    """Share a model's weights among all processes, block by block; gradients are summed, never averaged.

    FSDP2 averages by default, which would break the rule that sums are divided once; gloo cannot average at all.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    twin = _twin(model)
    for block in blocks(model):
        fully_shard(block)
    fully_shard(model)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    object.__setattr__(model, "plain_twin", twin)  # not a child: its weights are not the model's


def _twin(model: nn.Module) -> nn.Module:
    """The same module without memory for its weights."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo)


@contextlib.contextmanager
def gathered(model: Any) -> Iterator[Any]:
    """A plain model with all the weights, for as long as the block lasts; all processes enter it, and may then run
    it differently often. A model that is not shared is its own.
    """
    twin = getattr(model, "plain_twin", None)
    if twin is None:
        yield model
        return
    with torch.no_grad():
        twin.load_state_dict(state(model), assign=True)
    twin.train(model.training)
    try:
        yield twin
    finally:
        twin.to_empty(device="meta")
