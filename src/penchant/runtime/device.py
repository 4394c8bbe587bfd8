"""The device and the threads of this process."""

from __future__ import annotations

import torch

from penchant.errors import InputError
from penchant.runtime.memory import keep_pages

__all__ = ["device_name", "one_thread", "set_threads"]


def device_name(name: str = "auto", local: int = 0) -> str:
    """`auto` is CUDA where there is one, else the CPU; a process beside others takes the card of its own number."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise InputError(f"device is {name}, and there is no such card", "set device=auto or device=cpu")
    return f"cuda:{local}" if name == "cuda" else name


def set_threads(count: int) -> None:
    """Fix the intra-op threads (results depend on their number, so it is recorded and kept) and keep memory mapped."""
    torch.set_num_threads(count)
    keep_pages()


def one_thread() -> None:
    """Give the calling thread one intra-op thread."""
    torch.get_num_threads()  # torch settles a thread's number at its first question, which would undo ours later
    torch.set_num_threads(1)
