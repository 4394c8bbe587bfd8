"""Compiles one C++ file with the machine's own compiler, once, and loads it; without a compiler there is none.

The library is kept in the user's cache under a hash of its source, the flags, the compiler and the processor.
`PENCHANT_KERNELS=off` does without.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from penchant.files import stable_hash
from penchant.runtime.processor import cpuinfo

__all__ = ["build", "cache_folder"]

FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math")


def cache_folder() -> Path:
    """Where compiled libraries are kept: `$XDG_CACHE_HOME/penchant`, by default `~/.cache/penchant`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penchant"


def _machine_flags() -> tuple[str, ...]:
    if platform.machine() in ("x86_64", "AMD64"):
        wide = any("avx512f" in line for line in cpuinfo())
        return ("-march=native", "-mprefer-vector-width=512") if wide else ("-march=native",)
    return ("-mcpu=native",)


@functools.cache
def build(source: Path, *defines: str) -> tuple[ctypes.CDLL | None, str]:
    """The compiled library of a C++ file, or None, and a line that says why.

    Args:
        defines: macros, `NAME=VALUE`.

    Compiling takes a second or two the first time and nothing after; two processes may do it at once.
    """
    if os.environ.get("PENCHANT_KERNELS", "").lower() in ("off", "0", "no"):
        return None, "off by PENCHANT_KERNELS"
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        return None, "no C++ compiler"
    try:
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=20).stdout
        processor = sorted({line for line in cpuinfo() if line.startswith(("flags", "Features", "model name"))})
        flags = (*FLAGS, *_machine_flags(), *(f"-D{d}" for d in defines))
        key = stable_hash([source.read_text(encoding="utf-8"), flags, version, processor])[:20]
        target = cache_folder() / f"{source.stem}-{key}.so"
        if not target.exists():
            _compile([compiler, *flags, str(source)], target)
        return ctypes.CDLL(str(target)), f"compiled by {version.splitlines()[0] if version else compiler}"
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{compiler} failed: {str(error).splitlines()[0][:100]}"


def _compile(command: list[str], target: Path) -> None:
    """Compile beside the target and rename, so that a half-written library is never seen."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, aside = tempfile.mkstemp(suffix=".so", dir=target.parent)
    os.close(handle)
    try:
        done = subprocess.run([*command, "-o", aside], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise OSError((done.stderr or "no message").strip())
        os.replace(aside, target)
    finally:
        Path(aside).unlink(missing_ok=True)
