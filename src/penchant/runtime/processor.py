"""What the processor says of itself; without torch, so that a parent process can ask."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bf16_units", "cpuinfo"]


def cpuinfo() -> list[str]:
    """The lines of /proc/cpuinfo; none where there is no such file."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def bf16_units() -> bool | None:
    """Whether the processor has units for bfloat16; None where the system does not say."""
    for line in cpuinfo():
        if line.startswith(("flags", "Features")):
            return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(line.partition(":")[2].split()))
    return None
