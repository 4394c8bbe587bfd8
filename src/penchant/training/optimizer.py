"""SGD, AdamW and Muon over fp32 masters; weights in bf16 are rounded copies of their masters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from penchant.training.options import OptimizerOptions
from penchant.training.schedule import factor

__all__ = ["Optimizer", "OptimizerOptions"]


class Optimizer:
    """Owns the masters and moves them; `step` clips, updates, and copies them into the model."""

    def __init__(self, model: nn.Module, options: OptimizerOptions, steps: int):
        self.options, self.steps = options, steps
        self.weights = [p for p in model.parameters() if p.requires_grad]
        narrow = any(p.dtype != torch.float32 for p in self.weights)
        self.masters: list[Tensor] = [p.detach().float().clone() for p in self.weights] if narrow else self.weights  # type: ignore[assignment]
        named = dict(model.named_parameters())
        matrix = [named[n].dim() == 2 and "embed" not in n and "lm_head" not in n for n in named]
        first = [m for m, is_matrix in zip(self.masters, matrix, strict=True) if is_matrix or options.name != "muon"]
        rest = [m for m, is_matrix in zip(self.masters, matrix, strict=True) if not is_matrix]
        decay = options.weight_decay
        self.parts: list[tuple[torch.optim.Optimizer, float]] = []
        if options.name == "muon":
            muon = torch.optim.Muon(
                first, lr=1.0, momentum=options.momentum, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
            adam = torch.optim.AdamW(rest, lr=1.0, betas=options.betas, weight_decay=decay, fused=True)
            self.parts = [(muon, options.learning_rate), (adam, options.adam_learning_rate)]
        elif options.name == "adamw":
            adam = torch.optim.AdamW(first, lr=1.0, betas=options.betas, weight_decay=decay, fused=True)
            self.parts = [(adam, options.learning_rate)]
        else:
            sgd = torch.optim.SGD(first, lr=1.0, momentum=options.momentum, weight_decay=decay)
            self.parts = [(sgd, options.learning_rate)]

    @torch.no_grad()
    def gradients(self) -> float:
        """Hand the model's gradients to the masters; returns their norm (before clipping)."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            if weight.grad is not None:
                master.grad = weight.grad.float()
                if weight is not master:
                    weight.grad = None
        grads = [m.grad for m in self.masters if m.grad is not None]
        return float(torch.nn.utils.get_total_norm(grads)) if grads else 0.0

    @torch.no_grad()
    def step(self, step: int, norm: float) -> float:
        """Clip by the norm, update the masters and the weights; returns the learning rate that was used."""
        limit = self.options.max_grad_norm
        if limit and norm > limit:
            for master in self.masters:
                if master.grad is not None:
                    master.grad.mul_(limit / (norm + 1e-6))
        scale = factor(self.options.schedule, step, self.steps, self.options.warmup)
        for part, rate in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * scale
            part.step()
        self.clear()
        for weight, master in zip(self.weights, self.masters, strict=True):
            if weight is not master:
                weight.copy_(master)
        return self.parts[0][1] * scale

    def clear(self) -> None:
        """Drop all gradients."""
        for tensor in (*self.masters, *self.weights):
            tensor.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Masters (where they are not the weights themselves) and each part's state."""
        masters: list[Tensor] = [] if self.masters is self.weights else list(self.masters)
        return {"masters": masters, "parts": [part.state_dict() for part, _ in self.parts]}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        for master, saved in zip(self.masters if state["masters"] else [], state["masters"], strict=True):
            master.copy_(saved)
        for (part, _), saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
