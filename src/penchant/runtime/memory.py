"""Memory: what the process keeps, what it may take, and how many tokens go through the model at once."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from dataclasses import dataclass

from penchant import machine

__all__ = ["Fit", "budget", "fit", "keep_pages"]

_TRIM, _MMAP, _ARENAS = -1, -3, -8  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX of glibc's malloc.h
_SPARE = 0.7  # of the free memory is planned with: an out-of-memory kill cannot be caught
_CPU, _CUDA = 2048, 32768  # tokens in flight in one process: more gain nothing, measured from 256 to 4,096 on a CPU
_LEAST = 1024  # tokens of a thread's micro-batch, whatever their number


def keep_pages() -> None:
    """Let glibc keep big buffers from step to step, in one arena for all threads.

    By default it gives them back to the system each time, and a step spends as long on page faults as on its work;
    threads' own arenas hold nothing above 64 MiB. Elsewhere than on glibc nothing happens.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    # Before 2.35, glibc refuses a threshold above 32 MiB.
    recent = tuple(map(int, platform.libc_ver()[1].split(".")[:2])) >= (2, 35)
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP, 1 << 30 if recent else 32 << 20)
        mallopt(_TRIM, 1 << 30)
        mallopt(_ARENAS, 1)


@dataclass(frozen=True)
class Fit:
    """How many rows go through the model at once in one thread, and a line where even one may be too many."""

    rows: int
    warning: str = ""


def budget(device: str, threads: int) -> int | None:
    """Bytes that this process may plan with: its share, by cores, of what is free; None where nobody says."""
    if device.startswith("cuda"):
        import torch

        return int(_SPARE * torch.cuda.mem_get_info(torch.device(device))[0])
    free = machine.memory_available()
    return None if free is None else int(_SPARE * free * min(1.0, threads / machine.cores()))


def fit(free: int | None, fixed: int, token: int, row: int, threads: int, device: str = "cpu") -> Fit:
    """How many rows one forward takes: as many tokens as pay, as far as they fit.

    Args:
        free: bytes that may be taken, from `budget`.
        fixed: bytes that training takes before the first token.
        token: bytes that each token in flight takes.
        row: tokens of a row at most.
        threads: row-parallel threads, each with rows of its own in flight.
    """
    paying = _CUDA if device.startswith("cuda") else max(_LEAST, _CPU // threads)
    rows = max(1, paying // row)
    if free is None:
        return Fit(rows)
    fitting = max(0, free - fixed) // (token * row * threads)
    while rows > 1 and rows > fitting:  # by halves, so that a little more or less free memory changes nothing
        rows //= 2
    if fitting >= 1:
        return Fit(rows)
    need, there = fixed + token * row * threads, free / _SPARE
    return Fit(1, f"training takes about {need / 1e9:.1f} GB and {there / 1e9:.1f} GB are free: it may be ended for it")
