"""The gradient of one optimizer step, from micro-batches over threads and processes, divided once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from penchant.contracts import Objective, Term
from penchant.data.halve import halves, units
from penchant.errors import PenchantError
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
    model: Any,
    objective: Objective,
    batches: Sequence[Batch],
    mesh: Mesh | None = None,
    state: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Accumulate the gradient of one optimizer step in `model`.

    Where a device runs out of memory, all processes cut their micro-batches in half together and begin the step again.

    Args:
        batches: this process's share of the step's micro-batches; none where it has none.
        state: keeps `halved`, how often that was done, for the steps to come.

    Returns:
        The loss, its components and their statistics, and `tokens` (labels), over all processes; `halved` where it is
        not 0.
    """
    mesh, state = mesh or Mesh.alone(), {} if state is None else state
    totals = mesh.sum(objective.totals(batches))
    counted = mesh.sum({"tokens": float(sum(len(batch.labels) for batch in batches))})
    unit = getattr(objective, "unit", "token")
    for _ in range(state.get("halved", 0)):
        batches = [half for batch in batches for half in halves(batch, unit)]
    while (found := _attempt(model, objective, batches, totals, mesh)) is None:
        state["halved"] = state.get("halved", 0) + 1
        batches = [half for batch in batches for half in halves(batch, unit)]
    sums = mesh.sum(_added([{f"loss/{name}": value for name, value in sums.items()} for sums, _ in found]))
    values = mesh.sum(_added([{key: value for key, (value, _) in stats.items()} for _, stats in found]))
    counts = mesh.sum(_added([{key: count for key, (_, count) in stats.items()} for _, stats in found]))
    means = {key: value / max(counts[key], 1.0) for key, value in values.items()}
    halved = {"halved": float(state["halved"])} if state.get("halved") else {}
    return {"loss": sum(sums.values(), 0.0), **(sums if len(sums) > 1 else {}), **means, **counted, **halved}


def _attempt(
    model: Any, objective: Objective, batches: Sequence[Batch], totals: Mapping[str, float], mesh: Mesh
) -> list[Found] | None:
    """What each micro-batch gave; None where a process ran out of memory (then no gradient is left).

    Raises:
        PenchantError: it did, and there is nothing to halve; or in company that shares weights, which waits for it.
    """
    uniform, unit = getattr(objective, "uniform", False), getattr(objective, "unit", "token")

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
    found: list[Found] | None = None
    try:
        found = mesh.each(model, [*batches, *[_EMPTY] * missing], one, tokens)
    except torch.OutOfMemoryError as error:
        if mesh.shared or all(len(np.unique(units(batch, unit))) < 2 for batch in batches):
            mend = "set a smaller micro_batch_size=" if mesh.shared else "take a smaller model or shorter rows"
            raise PenchantError(f"out of memory on {mesh.device}", mend) from error
    if not mesh.most(int(found is None)):
        return found
    model.zero_grad(set_to_none=True)
    mesh.free_memory()
    return None


def _added(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name, in the order of the rows."""
    total: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            total[name] = total.get(name, 0.0) + value
    return total
