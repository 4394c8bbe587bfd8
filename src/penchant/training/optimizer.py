"""SGD, Adam, AdamW and Muon over fp32 masters; weights in bf16 are rounded copies of their masters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from penchant.runtime.mesh import Mesh
from penchant.runtime.shard import local, own, whole
from penchant.training.fused import Fused
from penchant.training.muon import Muon
from penchant.training.options import OptimizerOptions
from penchant.training.schedule import factor

__all__ = ["Optimizer", "OptimizerOptions"]

_PARTS = 10_000  # of a training that a budget ends

# Tables and output layers, by parts of their names (wte, wpe: GPT-2's; shared, relative_attention_bias: T5's).
_NOT_MUON = ("embed", "lm_head", "heads.", "wte.", "wpe.", "shared.", "relative_attention_bias")


class Optimizer:
    """Owns the masters and moves them; `step` clips, updates, and copies them into the model.

    Where processes share weights, masters and their state are this process's parts; what is saved is whole, so that a
    run can go on with another number of processes.
    """

    def __init__(self, model: nn.Module, options: OptimizerOptions, steps: int):
        self.options, self.steps = options, steps
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.weights: list[Tensor] = list(named.values())
        self.narrow = any(p.dtype != torch.float32 for p in self.weights)
        parts = [local(p).detach() for p in self.weights]
        self.masters = [p.float().clone() for p in parts] if self.narrow else parts
        matrix = [p.dim() == 2 and not any(part in n for part in _NOT_MUON) for n, p in named.items()]
        chosen = [i for i in range(len(matrix)) if matrix[i] and options.name == "muon"]
        self.rest = [i for i in range(len(matrix)) if i not in set(chosen)]
        self.muon = self._muon(chosen) if chosen else None
        self.other = Fused([self.masters[i] for i in self.rest], options) if self.rest else None

    def _muon(self, chosen: Sequence[int]) -> Muon:
        masters, weights = [self.masters[i] for i in chosen], [self.weights[i] for i in chosen]
        return Muon(masters, weights, self.options.momentum, self.options.weight_decay)

    @torch.no_grad()
    def gradients(self, mesh: Mesh | None = None) -> float:
        """Hand the model's gradients to the masters, summed over processes; returns their norm (before clipping)."""
        mesh = mesh or Mesh.alone()
        found: list[Tensor] = []
        narrow: list[Tensor] = []
        for weight, master in zip(self.weights, self.masters, strict=True):
            grad = weight.grad
            if grad is None and mesh.place.ranks == 1:
                continue
            narrow.append(torch.zeros_like(local(weight)) if grad is None else local(grad))
            # Until `clear` only: while a model is differentiated its activations need the room.
            master.grad = torch.empty_like(master) if self.narrow else narrow[-1]
            found.append(master.grad)
            weight.grad = None
        if self.narrow and found:
            torch._foreach_copy_(found, narrow)
        mesh.add(found)
        return mesh.norm(found)

    @torch.no_grad()
    def step(self, step: int, norm: float, done: float | None = None) -> float:
        """Clip by the norm, update the masters and the weights; returns the learning rate that was used.

        Args:
            done: the share of the training that is done, where something else than the number of steps ends it.
        """
        options = self.options
        limit = options.max_grad_norm
        scale = limit / (norm + 1e-6) if limit and norm > limit else 1.0
        place = (step, self.steps) if done is None else (min(int(done * _PARTS), _PARTS - 1), _PARTS)
        share = factor(options.schedule, *place, options.warmup)
        if self.muon is not None:
            self.muon.step(options.learning_rate * share, scale)
        if self.other is not None:
            rate = options.adam_learning_rate if options.name == "muon" else options.learning_rate
            self.other.step(rate * share, scale)
        self.clear()
        if self.narrow:
            torch._foreach_copy_([local(w) for w in self.weights], self.masters)
        return options.learning_rate * share

    def clear(self) -> None:
        """Drop all gradients."""
        for tensor in (*self.masters, *self.weights):
            tensor.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Masters (where they are not the weights themselves) and each part's state, whole; all processes call it."""
        masters = zip(self.masters, self.weights, strict=True) if self.narrow else ()
        return {
            "masters": [whole(master, weight) for master, weight in masters],
            "muon": {} if self.muon is None else self.muon.state_dict(),
            "other": [_each(kept, whole, self.weights[i]) for i, kept in self._kept()],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        if self.narrow:
            for master, weight, saved in zip(self.masters, self.weights, state["masters"], strict=True):
                master.copy_(own(saved, weight))
        if self.muon is not None:
            self.muon.load_state_dict(state["muon"])
        for (index, kept), saved in zip(self._kept(), state["other"], strict=True):
            mine = _each(saved, own, self.weights[index])
            kept.update({k: v.clone() if isinstance(v, Tensor) else v for k, v in mine.items()})

    def _kept(self) -> list[tuple[int, dict[str, Any]]]:
        """Of each weight that Muon does not move its number, and what is kept for it."""
        return [] if self.other is None else list(zip(self.rest, self.other.state, strict=True))


def _each(kept: Mapping[str, Any], change: Callable[[Tensor, Tensor], Tensor], weight: Tensor) -> dict[str, Any]:
    """The same with `change` for what is as large as the weight; a step's number stays as it is."""
    return {k: change(v, weight) if isinstance(v, Tensor) and v.dim() else v for k, v in kept.items()}
