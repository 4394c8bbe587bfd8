"""A batch cut into two between its units, with the sequences that each half needs."""

from __future__ import annotations

import dataclasses

import numpy as np

from penchant.records import Batch

__all__ = ["halves", "units"]


def units(batch: Batch, unit: str = "token") -> np.ndarray:
    """int64 [N]: labels of the same number stay together.

    Args:
        unit: what an objective cannot be cut within: `token` and `sequence` (a sequence is cut by nobody), `pair`
            (sequences 2k and 2k + 1), `group` (by the column `group`).
    """
    if unit == "pair":
        return batch.unit // 2
    return batch.columns["group"].astype(np.int64) if unit == "group" else batch.unit


def halves(batch: Batch, unit: str = "token") -> list[Batch]:
    """Two batches with the same labels in all; the batch itself where it has one unit only.

    A prompt that both halves need stands in both.
    """
    keys = units(batch, unit)
    known = np.unique(keys)
    if len(known) < 2:
        return [batch]
    first = keys < known[len(known) // 2]
    return [_part(batch, first), _part(batch, ~first)]


def _part(batch: Batch, chosen: np.ndarray) -> Batch:
    """The batch with some of its labels (bool [N]) and the sequences that these need."""
    sequence = np.repeat(np.arange(len(batch.lengths)), batch.lengths)  # of each token
    wanted = np.zeros(len(batch.lengths), bool)
    wanted[sequence[batch.at[chosen]]] = True
    if len(batch.prefix):
        before = batch.prefix[wanted]
        wanted[before[before >= 0]] = True
    tokens = wanted[sequence]
    moved, place = np.cumsum(tokens) - 1, np.cumsum(wanted) - 1
    prefix = batch.prefix[wanted] if len(batch.prefix) else batch.prefix
    return dataclasses.replace(
        batch,
        inputs=batch.inputs[tokens],
        positions=batch.positions[tokens],
        lengths=batch.lengths[wanted],
        labels=batch.labels[chosen],
        at=moved[batch.at[chosen]],
        unit=batch.unit[chosen],
        columns={name: values[chosen] for name, values in batch.columns.items()},
        prefix=np.where(prefix >= 0, place[prefix], -1) if len(prefix) else prefix,
        role=batch.role[tokens] if len(batch.role) else batch.role,
        products=None,
    )
