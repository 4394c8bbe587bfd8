"""Rows with a label each, and the batch's KL that KTO holds them against (Ethayarajh et al. 2024, section 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from penchant.batches.rows import Item, Rows, batch_of, with_values
from penchant.batches.spread import cost, cut
from penchant.records import Batch
from penchant.runtime.mesh import Mesh

__all__ = ["Unpaired", "mismatched"]


def mismatched(items: Sequence[Item]) -> list[Item]:
    """Each row's prompt with the completion of the next row, which it does not answer."""
    others = [*items[1:], *items[:1]]
    return [Item(item.prompt, other.completions) for item, other in zip(items, others, strict=True)]


class Unpaired(Rows):
    """Rows whose batches have a column `kl`: the mean of log p - log q of mismatched rows of the step, at least 0.

    Args:
        others: `mismatched(items)` with the column `reference_logprobs`.
    """

    def __init__(
        self,
        model: Any,
        items: Sequence[Item],
        others: Sequence[Item],
        batch_size: int,
        micro_batch_size: int,
        seed: int,
        mesh: Mesh,
    ):
        super().__init__(model, items, batch_size, micro_batch_size, seed, mesh)
        self.other = {id(item): other for item, other in zip(self.items, others, strict=True)}

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """This process's micro-batches of one step, and the KL."""
        chosen = self._chosen()
        kl = self.kl([self.other[id(item)] for item in chosen])
        batches = []
        for group in cut(chosen, self.micro, self.mesh.lanes):
            batch = batch_of(group, self.model)
            column = np.full(len(batch.labels), kl, np.float32)
            batches.append(dataclasses.replace(batch, columns={**batch.columns, "kl": column}))
        return self.mesh.share(batches, cost), self.statistics() | {"kl": kl}

    def kl(self, others: Sequence[Item]) -> float:
        """max(0, mean over rows of the sum of log p - log q)."""
        with self.mesh.whole(self.model) as model:
            model.eval()
            found = with_values(self.mesh, model, others, "now", self.micro)
        gaps = [float((i.columns["now"][0] - i.columns["reference_logprobs"][0]).sum()) for i in found]
        return max(0.0, float(np.mean(gaps)))
