"""What the processor says of itself; without torch, so that a parent process can ask."""

from __future__ import annotations

from pathlib import Path

__all__ = ["amd_without_avx512", "bf16_units", "cpuinfo"]


def cpuinfo() -> list[str]:
    """The lines of /proc/cpuinfo; none where there is no such file."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def bf16_units() -> bool | None:
    """Whether the processor has units for bfloat16; None where the system does not say."""
    flags = _flags()
    return None if flags is None else bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)


def amd_without_avx512() -> bool:
    """Whether this is a processor of AMD's without AVX512; False where the system does not say."""
    flags = _flags()
    made_by = {line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("vendor_id")}
    return made_by == {"AuthenticAMD"} and flags is not None and "avx2" in flags and "avx512f" not in flags


def _flags() -> set[str] | None:
    for line in cpuinfo():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return None
