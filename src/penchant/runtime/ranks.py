"""What several processes say to each other: numbers as JSON, gradients as sums; nothing is ever pickled."""

from __future__ import annotations

import atexit
import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from penchant.errors import PeerLost
from penchant.runtime.launch import Place

__all__ = ["Ranks"]

_PIECE = 16 << 20  # numbers that are summed at once


class Ranks:
    """The processes of one stage; every method but `close` is called by all of them, in the same order.

    Args:
        device: where gradients are; they go over NCCL on CUDA, over gloo on a CPU, as all messages do.
    """

    def __init__(self, place: Place, device: torch.device, minutes: float = 30.0):
        import torch.distributed as dist

        self.place, self.dist = place, dist
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        wait = timedelta(minutes=minutes)
        dist.init_process_group(backend, place.meeting, rank=place.rank, world_size=place.ranks, timeout=wait)
        self._piece: Tensor | None = None
        atexit.register(self.close)  # a group that is still there when the interpreter goes ends it with an abort

    def gather(self, value: Any) -> list[Any]:
        """Each process's value (anything that JSON can hold), in the order of their ranks."""
        mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.place.ranks)]
        with _peers():
            self.dist.all_gather(sizes, torch.tensor([len(mine)]))
            longest = max(int(s) for s in sizes)
            parts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
            self.dist.all_gather(parts, torch.cat([mine, mine.new_zeros(longest - len(mine))]))
        return [json.loads(p[: int(s)].numpy().tobytes()) for p, s in zip(parts, sizes, strict=True)]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors of one dtype over all processes, in place, in pieces of a buffer that is kept."""
        group: list[Tensor] = []
        for number, tensor in enumerate(tensors):
            group.append(tensor)
            last = number == len(tensors) - 1
            if last or sum(t.numel() for t in group) + tensors[number + 1].numel() > _PIECE:
                self._add(group)
                group = []

    def _add(self, group: list[Tensor]) -> None:
        size = sum(t.numel() for t in group)
        if self._piece is None or self._piece.numel() < size or self._piece.dtype != group[0].dtype:
            self._piece = torch.empty(size, dtype=group[0].dtype, device=group[0].device)
        flat = self._piece[:size]
        torch.cat([t.reshape(-1) for t in group], out=flat)
        with _peers():
            self.dist.all_reduce(flat)
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def close(self) -> None:
        """Leave the group, if that has not been done."""
        if self.dist.is_initialized():
            self.dist.destroy_process_group()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """What a lost connection means."""
    try:
        yield
    except RuntimeError as error:
        line = " ".join(str(error).split())[:120]
        raise PeerLost(
            f"another process of this stage has ended ({line})", "start the run again: it goes on"
        ) from error
