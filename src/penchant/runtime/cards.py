"""What is particular to NVIDIA's cards: whether kernels can be compiled there, and graphs of captured kernels."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Captured", "available", "no_compiler", "on_cuda", "peak_memory_mb", "since_ampere", "wait_for"]


def on_cuda(device: torch.device | str) -> bool:
    """Whether a device is such a card."""
    return str(device).startswith("cuda")


def available() -> bool:
    """Whether there is one."""
    return torch.cuda.is_available()


def since_ampere(device: torch.device) -> bool:
    """Whether it is of 2020 or later, which flash attention needs."""
    return torch.cuda.get_device_capability(device)[0] >= 8


def peak_memory_mb() -> int:
    """The most that tensors took so far."""
    return torch.cuda.max_memory_allocated() >> 20


def wait_for(device: torch.device | str) -> None:
    """Return when a card has done what it was asked to; elsewhere at once."""
    if on_cuda(device):
        torch.cuda.synchronize(device)


@functools.cache
def no_compiler() -> str:
    """Why `torch.compile` does not work there; empty where it does."""
    if os.environ.get("PENCHANT_KERNELS") == "off":
        return "PENCHANT_KERNELS=off"
    # Formats, inference mode and arguments that may be missing each make a variant; the default of 8 is soon reached.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    try:
        x = torch.arange(8.0, device="cuda")
        same = torch.equal(torch.compile(lambda x: x * 2 + 1, dynamic=True)(x), x * 2 + 1)
    except Exception as error:  # a compiler fails in ways of its own (no Triton, no compiler, an unknown card)
        return f"torch.compile failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return "" if same else "torch.compile gives wrong numbers"


class Captured:
    """Kernels captured once and played with other numbers in the same places.

    Args:
        work: called once, with tensors that later calls fill anew; it must have run before, so that nothing is
            compiled or set up in it.
        inputs: like those of later calls.
    """

    def __init__(self, work: Callable[..., Tensor], *inputs: Tensor):
        self._inputs = [x.clone() for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # not torch.cuda.graph, which collects garbage and empties the cache each time
            self._graph.capture_begin(capture_error_mode="thread_local")
            self._result = work(*self._inputs)
            self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The result for these inputs; the next call overwrites it."""
        for mine, new in zip(self._inputs, inputs, strict=True):
            mine.copy_(new)
        self._graph.replay()
        return self._result
