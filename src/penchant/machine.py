"""Cores and memory that this process may use: its affinity, its control groups (v1 and v2) and what is free now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cores", "memory_available", "memory_limit"]

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its control groups."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *_quotas()]))


def memory_limit() -> int | None:
    """Bytes that this process may use at most: the machine's, or its control groups' limit; None if nobody says."""
    found = [limit for limit, _ in _limits()]
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found) if found else None


def memory_available() -> int | None:
    """Bytes that this process can still take without being killed: free on the machine and in each control group."""
    found = [max(0, limit - used) for limit, used in _limits()]
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    if not found:
        with contextlib.suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))
    return min(found) if found else None


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, the innermost first: of v1's controller, or of v2."""
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            root = _CGROUPS / controller
        elif number == "0" and not names:
            root = _CGROUPS / "unified" if (_CGROUPS / "unified").is_dir() else _CGROUPS
        else:
            continue
        # In a container the path is the host's and its groups cannot be seen, but the root is the container's own.
        inner = root / path.strip("/")
        yield from (group for group in (inner, *inner.parents) if group.is_relative_to(root) and group.is_dir())


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None  # "max", or no such file


def _quotas() -> Iterator[int]:
    """Whole cores that each control group with a quota grants (at least one)."""
    for group in _groups("cpu"):
        limit, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        with contextlib.suppress(OSError, ValueError):
            limit, period = map(int, (group / "cpu.max").read_text().split())
        if limit is not None and limit > 0 and period:
            yield max(1, round(limit / period))


def _limits() -> Iterator[tuple[int, int]]:
    """(limit, bytes used that cannot be given back) of each control group with a memory limit."""
    pairs = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for group in _groups("memory"):
        for limit_file, used_file in pairs:
            limit, used = _number(group / limit_file), _number(group / used_file)
            if limit is not None and limit < 1 << 60:  # v1 writes "no limit" as a huge number
                yield limit, max(0, (used or 0) - _reclaimable(group))


def _reclaimable(group: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    return 0
