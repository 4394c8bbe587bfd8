"""The device and the threads of this process."""

from __future__ import annotations

import torch

__all__ = ["device_name", "set_threads"]


def device_name(name: str = "auto") -> str:
    """`auto` is CUDA where there is one, else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def set_threads(count: int) -> None:
    """Fix the intra-op threads (results depend on their number, so it is recorded and kept)."""
    torch.set_num_threads(count)
