"""Adam, AdamW and SGD in one sweep over memory, by the functional face of torch's optimizers.

torch's classes load its compiler when they are made: two seconds and 70 MB of a process that never compiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from penchant.training.options import OptimizerOptions

__all__ = ["Fused"]


class Fused:
    """Moves masters (float32) by their `grad`; those without one stay.

    Attributes:
        state: of each master what is kept, by torch's names: `step`, `exp_avg` and `exp_avg_sq`, or `momentum_buffer`;
            empty before its first gradient.
    """

    def __init__(self, masters: Sequence[Tensor], options: OptimizerOptions):
        self.masters, self.options = list(masters), options
        self.state: list[dict[str, Any]] = [{} for _ in self.masters]

    def step(self, rate: float, scale: float) -> None:
        """One update at learning rate `rate`; `scale` multiplies gradients on the way (clipping)."""
        found = [i for i, master in enumerate(self.masters) if master.grad is not None]
        if not found:
            return
        masters = [self.masters[i] for i in found]
        grads = [grad for grad in (master.grad for master in masters) if grad is not None]
        kept = [self.state[i] for i in found]
        for master, mine in zip(masters, kept, strict=True):
            self._begin(master, mine)
        options = self.options
        more: dict[str, Any] = {"lr": rate, "weight_decay": options.weight_decay, "maximize": False, "fused": True}
        if scale != 1.0:  # the kernel divides by it
            more["grad_scale"] = torch.tensor(1 / scale, device=masters[0].device)
        if options.name == "sgd":
            momenta = [mine["momentum_buffer"] for mine in kept] if options.momentum else [None] * len(kept)
            sgd(masters, grads, momenta, momentum=options.momentum, dampening=0.0, nesterov=False, **more)
            return
        beta1, beta2 = options.betas
        first, second, steps = ([mine[name] for mine in kept] for name in ("exp_avg", "exp_avg_sq", "step"))
        move = adam if options.name == "adam" else adamw
        move(masters, grads, first, second, [], steps, amsgrad=False, beta1=beta1, beta2=beta2, eps=1e-8, **more)

    def _begin(self, master: Tensor, kept: dict[str, Any]) -> None:
        """State of a master that has its first gradient."""
        if kept:
            return
        if self.options.name != "sgd":
            kept["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
            kept |= {name: torch.zeros_like(master) for name in ("exp_avg", "exp_avg_sq")}
        elif self.options.momentum:
            kept["momentum_buffer"] = torch.zeros_like(master)
