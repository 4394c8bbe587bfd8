"""Which number format pays on this machine: bf16 where there are units for it, else fp32.

What a run uses is read from the processor's flags, since a measurement on a busy machine could differ when the run goes
on and then the bits would; `measure` shows people what the choice is worth.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import torch

from penchant.runtime import processor

__all__ = ["Precision", "bf16_units", "measure", "resolve_dtype"]


@dataclass(frozen=True)
class Precision:
    """The matrix-product rates of one core or one GPU in GFLOP/s, and what follows from them."""

    device: str
    bf16: float
    fp32: float

    @property
    def pays(self) -> bool:
        """True where bf16 is at least 1.3 times as fast as fp32."""
        return self.bf16 > 1.3 * self.fp32

    @property
    def why(self) -> str:
        """One line for a person."""
        verdict = "bf16 weights with fp32 masters" if self.pays else "fp32 (bf16 is emulated or no faster here)"
        return f"{self.device}: bf16 {self.bf16:.0f}, fp32 {self.fp32:.0f} GFLOP/s a thread -> {verdict}"


def _rate(dtype: torch.dtype, device: str, size: int) -> float:
    a = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


@functools.cache
def measure(device: str = "cpu") -> Precision:
    """Measure both formats on one thread (about 0.05 s); the answer is kept for the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        size = 512 if device == "cpu" else 4096
        return Precision(device, _rate(torch.bfloat16, device, size), _rate(torch.float32, device, size))
    finally:
        torch.set_num_threads(threads)


def bf16_units(device: str = "cpu") -> bool:
    """Whether the processor or GPU has matrix units for bfloat16; False where it does not say."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(processor.bf16_units())


def resolve_dtype(name: str, device: str = "cpu") -> torch.dtype:
    """`auto` (bfloat16 where there are units for it), `bfloat16` or `float32` as a torch dtype."""
    if name == "auto":
        return torch.bfloat16 if bf16_units(device) else torch.float32
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
