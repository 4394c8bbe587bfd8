"""A batch as a checkpoint holds it: tensors, numbers and lists; nothing is rounded on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from penchant.records import Batch

__all__ = ["batch_from_state", "batch_state"]

_ARRAYS = ("inputs", "positions", "lengths", "labels", "at", "unit", "prefix", "role")


def batch_state(batch: Batch) -> dict[str, Any]:
    """What a checkpoint saves; `batch_from_state` gives the same batch, bit by bit."""
    arrays = {name: torch.from_numpy(getattr(batch, name)) for name in _ARRAYS}
    columns = {name: torch.from_numpy(values) for name, values in batch.columns.items()}
    return {**arrays, "columns": columns, "temperature": batch.temperature, "banned": list(batch.banned)}


def batch_from_state(saved: Mapping[str, Any]) -> Batch:
    """The batch that `batch_state` was given."""
    arrays = {name: saved[name].numpy() for name in _ARRAYS}
    columns = {name: values.numpy() for name, values in saved["columns"].items()}
    return Batch(**arrays, columns=columns, temperature=saved["temperature"], banned=tuple(saved["banned"]))
