"""The one object that knows devices, ranks and row-parallel threads; the rest of the house asks it.

Work is cut in three: a step's micro-batches over processes (`share`), a process's over threads (`each`), and a matrix
product over a thread's own intra-op threads where there is one micro-batch only. Each cut is a function of the sizes
alone, and sums are taken in a fixed order, so the same cut gives the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from penchant.runtime import shard
from penchant.runtime.device import device_name, set_threads
from penchant.runtime.launch import Place, place
from penchant.runtime.ranks import Ranks
from penchant.runtime.recompute import recompute
from penchant.runtime.rows import Rows, deal

__all__ = ["Mesh", "ShardName"]

T = TypeVar("T")
R = TypeVar("R")
ShardName = Literal["auto", "none", "full"]

_WHOLE = 16 << 30  # bytes of weights, gradients and optimizer on one device from which `auto` shares them
_STATE = 18  # bytes a parameter of those: bf16 weight and gradient, float32 master, gradient and two moments


class Mesh:
    """Where a stage computes.

    Args:
        threads: cores of this process; on a CPU as many row-parallel threads, on CUDA one.
        device: `auto`, `cpu` or what torch calls a device.
        at: this process among those of the stage; by default as the environment says.
        share_weights: `full` shares weights, gradients and optimizer among the processes (FSDP2), `none` keeps all of
            them in each and sums gradients, `auto` shares what would take more than 16 GB.
    """

    def __init__(
        self, threads: int = 1, device: str = "auto", at: Place | None = None, share_weights: ShardName = "auto"
    ):
        self.place = place() if at is None else at
        self.device = torch.device(device_name(device, self.place.local))
        self.threads, self.share_weights = threads, share_weights
        set_threads(threads)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.rows = Rows(threads if self.device.type == "cpu" else 1)
        self._ranks = Ranks(self.place, self.device) if self.place.ranks > 1 else None
        self.shared = False

    @classmethod
    def alone(cls) -> Mesh:
        """This process alone, with the intra-op threads that it has."""
        mesh = cls(torch.get_num_threads(), "cpu", Place())
        mesh.rows = Rows(1)
        return mesh

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.place.first

    @property
    def lanes(self) -> int:
        """Micro-batches that are worked on at once, over all processes and threads."""
        return self.place.ranks * self.row_threads

    @property
    def row_threads(self) -> int:
        """Row-parallel threads of this process; one where weights are shared, since FSDP2 works in one."""
        return 1 if self.shared else self.rows.threads

    def summary(self) -> dict[str, Any]:
        """How work is cut, for the stage's summary."""
        return {"processes": self.place.ranks, "row_threads": self.row_threads, "weights_shared": self.shared}

    def place_model(self, model: nn.Module, checkpointed: bool = False) -> None:
        """Make a model ready to be trained: its weights are shared among the processes where that was asked for, or
        where they are large; `checkpointed` computes activations again in the backward.
        """
        if checkpointed:
            recompute(model)
        size = _STATE * sum(p.numel() for p in model.parameters() if p.requires_grad)
        wanted = self.share_weights == "full" or (self.share_weights == "auto" and size > _WHOLE)
        if wanted and self._ranks is not None:
            shard.shard(model)
            self.shared = True

    def each(
        self,
        model: nn.Module,
        items: Sequence[T],
        one: Callable[[Any, T], R],
        cost: Callable[[T], float] = lambda item: 1.0,
    ) -> list[R]:
        """`one(model, item)` for all items, on row-parallel threads; results in the order of the items.

        `one` gets a model of its own that shares the weights' memory; what it adds to gradients there adds up in
        `model`. `cost` says how long an item takes, in any unit.
        """
        if self.shared:
            return [one(model, item) for item in items]
        return self.rows.each(model, items, one, cost)

    def share(self, items: Sequence[T], cost: Callable[[T], float] = lambda item: 1.0) -> list[T]:
        """This process's share of a list that all processes have."""
        if self._ranks is None:
            return list(items)
        return [items[i] for i in deal([cost(item) for item in items], self.place.ranks)[self.place.rank]]

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each name's sum over all processes."""
        found: dict[str, float] = {}
        for part in self.gather(dict(values)):
            for name, value in part.items():
                found[name] = found.get(name, 0.0) + value
        return found

    def most(self, value: int) -> int:
        """The largest of all processes' numbers."""
        return max(self.gather(value))

    def gather(self, value: T) -> list[T]:
        """Every process's value (what JSON can hold), in the order of their ranks."""
        return [value] if self._ranks is None else self._ranks.gather(value)

    def told(self, value: T | None) -> T:
        """The first process's value; those of the others do not matter."""
        return self.gather(value if self.first else None)[0]  # type: ignore[return-value]

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Sum gradients over all processes, in place; those of shared weights are summed already."""
        if self._ranks is not None and not self.shared and gradients:
            self._ranks.add(gradients)

    def norm(self, gradients: Sequence[Tensor]) -> float:
        """The norm of all gradients together, over the parts that processes hold."""
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if not self.shared:
            return norm
        return float(sum(part * part for part in self.gather(norm))) ** 0.5

    @contextlib.contextmanager
    def whole(self, model: Any) -> Iterator[Any]:
        """The model with all its weights in this process; every process enters and leaves it."""
        with shard.gathered(model) as plain:
            yield plain

    def free_memory(self) -> None:
        """Give what the device's allocator keeps back to it."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Leave the other processes."""
        if self._ranks is not None:
            self._ranks.close()
