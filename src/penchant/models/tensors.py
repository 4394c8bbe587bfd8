"""Safetensors files in and out, with clear errors."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from penchant.errors import CorruptCheckpoint

__all__ = ["disk_full", "read_tensors", "write_tensors"]


@contextlib.contextmanager
def disk_full(path: Path) -> Iterator[None]:
    """A full disk as the system's error, which safetensors hides in its text."""
    try:
        yield
    except SafetensorError as error:
        if "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error
        raise


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file with the header that Hugging Face's loaders ask for."""
    with disk_full(path):
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        CorruptCheckpoint: missing, truncated or not a safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptCheckpoint(
            f"cannot be read ({str(error).splitlines()[0][:80]})", "restore it, or use an earlier checkpoint", file=path
        ) from error
