"""The gradient of one optimizer step, from micro-batches over threads and processes, divided once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from penchant.contracts import Objective, Term
from penchant.models.quantities import quantities
from penchant.records import Batch
from penchant.runtime.mesh import Mesh

__all__ = ["gradient_step", "tokens"]

# Where weights are shared, all processes go through the model equally often.
_NONE = np.zeros(0, np.int64)
_EMPTY = Batch(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, np.int64), _NONE, _NONE, _NONE)

Found = tuple[dict[str, float], dict[str, tuple[float, float]]]  # sums by component, statistics as (sum, count)


def tokens(batch: Batch) -> float:
    """What a micro-batch costs."""
    return float(len(batch.inputs))


def gradient_step(
    model: Any, objective: Objective, batches: Sequence[Batch], mesh: Mesh | None = None
) -> dict[str, float]:
    """Accumulate the gradient of one optimizer step in `model`.

    Args:
        batches: this process's share of the step's micro-batches; none where it has none.

    Returns:
        The loss, its components and their statistics, and `tokens` (labels), over all processes.
    """
    mesh = mesh or Mesh.alone()
    totals = mesh.sum(objective.totals(batches))
    counted = mesh.sum({"tokens": float(sum(len(batch.labels) for batch in batches))})
    uniform = getattr(objective, "uniform", False)

    def one(model: Any, batch: Batch) -> Found:
        found = quantities(model, batch, objective.quantities, uniform)
        if not len(batch.labels):  # it only keeps the others company
            torch.stack([values.sum() for values in found.values()]).sum().backward()
            return {}, {}
        terms: Mapping[str, Term] = objective.loss(found, batch)
        torch.stack([term.sum / totals[name] for name, term in terms.items()]).sum().backward()
        sums = {name: float(term.sum.detach()) / totals[name] for name, term in terms.items()}
        return sums, {key: pair for term in terms.values() for key, pair in term.stats.items()}

    missing = mesh.most(len(batches)) - len(batches) if mesh.shared else 0
    found = mesh.each(model, [*batches, *[_EMPTY] * missing], one, tokens)
    sums = mesh.sum(_added([{f"loss/{name}": value for name, value in sums.items()} for sums, _ in found]))
    values = mesh.sum(_added([{key: value for key, (value, _) in stats.items()} for _, stats in found]))
    counts = mesh.sum(_added([{key: count for key, (_, count) in stats.items()} for _, stats in found]))
    means = {key: value / max(counts[key], 1.0) for key, value in values.items()}
    return {"loss": sum(sums.values(), 0.0), **(sums if len(sums) > 1 else {}), **means, **counted}


def _added(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name, in the order of the rows."""
    total: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            total[name] = total.get(name, 0.0) + value
    return total
