"""Memory: what the process keeps, what is free, and how many tokens fit into one forward."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys

__all__ = ["keep_pages"]

_TRIM, _MMAP, _ARENAS = -1, -3, -8  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX of glibc's malloc.h


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
