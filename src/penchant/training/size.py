"""How many rows go through a model at once: what was asked for, or what pays and fits, found before the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from penchant.models.config import DecoderConfig
from penchant.models.footprint import Footprint, footprint
from penchant.runtime.memory import budget, fit
from penchant.runtime.mesh import Mesh

__all__ = ["bytes_at", "rows_at_once"]


def rows_at_once(
    asked: int | None,
    model: Any,
    row: int,
    mesh: Mesh,
    checkpointed: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> int:
    """Rows of one micro-batch at most.

    Args:
        row: tokens of a row at most.
        checkpointed: activations are computed again in the backward.
        note: tells the person where even one row may be too many.
    """
    if asked is not None:
        return asked
    size = _footprint(model, row, checkpointed)
    threads = mesh.row_threads
    device = str(mesh.device)
    found = fit(budget(device, mesh.threads), size.weights + threads * size.thread, size.token, row, threads, device)
    if found.warning:
        note(found.warning)
    return found.rows


def bytes_at(model: Any, rows: int, row: int, mesh: Mesh, checkpointed: bool = False) -> int:
    """Bytes that training takes with so many rows of so many tokens in flight in each thread."""
    return _footprint(model, row, checkpointed).total(mesh.row_threads, rows * row)


def _footprint(model: Any, row: int, checkpointed: bool) -> Footprint:
    wide = next(model.parameters()).dtype == torch.float32
    if isinstance(model.config, DecoderConfig):
        return footprint(model.config, wide, row, checkpointed)
    # Another architecture: its weights are counted, its activations taken from a usual block (34 numbers a unit of
    # width, Korthikanti et al. 2022, eq. 2, without the attention matrix).
    size, count = 4 if wide else 2, sum(p.numel() for p in model.parameters())
    config = getattr(model.config, "theirs", model.config)
    layers, width = getattr(config, "num_hidden_layers", 12), getattr(config, "hidden_size", 768)
    return Footprint(count * (size + (12 if wide else 16 + size)), count * size, 34 * size * layers * width)
