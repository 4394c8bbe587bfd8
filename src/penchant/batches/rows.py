"""Rows of a data set as an endless, shuffled source: prompts with one or several completions, encoded once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from penchant.batches.spread import cost, cut, with_column
from penchant.data.pack import completion_batch
from penchant.errors import DataRejected
from penchant.models.names import decoder_start
from penchant.records import Batch
from penchant.runtime.mesh import Mesh
from penchant.runtime.random import stream

__all__ = ["Item", "Rows", "batch_of", "with_values"]


@dataclass(frozen=True, eq=False)
class Item:
    """One row, encoded.

    Attributes:
        prompt: token ids, at least 1.
        completions: token ids of each, at least 1 (a pair's chosen one first).
        columns: name -> for each completion float [tokens].
        keep: for each completion bool [tokens], False where that token is no label; None: all are.
    """

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    columns: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    keep: tuple[np.ndarray, ...] | None = None

    @property
    def size(self) -> int:
        """Tokens, the prompt counted once."""
        return len(self.prompt) + sum(map(len, self.completions))

    def kept(self) -> tuple[np.ndarray, ...]:
        """bool [tokens] of each completion."""
        return self.keep or tuple(np.ones(len(c), bool) for c in self.completions)


def batch_of(items: Sequence[Item], model: Any) -> Batch:
    """A batch of rows; completions are numbered through, so that those of a pair are 2k and 2k + 1."""
    flat = [(item.prompt, c) for item in items for c in item.completions]
    names = items[0].columns
    return completion_batch(
        [prompt for prompt, _ in flat],
        [completion for _, completion in flat],
        [keep for item in items for keep in item.kept()],
        {name: [values for item in items for values in item.columns[name]] for name in names},
        shared=getattr(model, "shares_prompts", False),
        start=decoder_start(model),
    )


def with_values(
    mesh: Mesh, model: Any, items: Sequence[Item], name: str, micro: int, quantity: str = "logprobs"
) -> list[Item]:
    """Rows with a further column: a quantity of their labels under a model as it is now; 0 where there is no label."""
    order = sorted(range(len(items)), key=lambda i: items[i].size)
    groups = cut(order, micro, mesh.lanes)
    batches = [batch_of([items[i] for i in group], model) for group in groups]
    found: dict[int, Item] = {}
    for group, batch in zip(groups, with_column(mesh, model, name, batches, True, quantity), strict=True):
        sizes = [int(keep.sum()) for i in group for keep in items[i].kept()]
        values = iter(np.split(batch.columns[name], np.cumsum(sizes)[:-1]))
        for i in group:
            own = []
            for keep in items[i].kept():
                filled = np.zeros(len(keep), np.float32)
                filled[keep] = next(values)
                own.append(filled)
            found[i] = replace(items[i], columns={**items[i].columns, name: tuple(own)})
    return [found[i] for i in range(len(items))]


class Rows:
    """A source of batches of rows, epoch by epoch in a seeded order.

    Args:
        items: encoded rows.
        batch_size: rows of one optimizer step.
        micro_batch_size: rows of one micro-batch at most.

    Raises:
        DataRejected: there are no rows, or none has a label.
    """

    def __init__(
        self, model: Any, items: Sequence[Item], batch_size: int, micro_batch_size: int, seed: int, mesh: Mesh
    ):
        if not any(keep.any() for item in items for keep in item.kept()):
            raise DataRejected("no row has a token to learn from", "give rows with answers that fit into max_length")
        self.model, self.items, self.batch_size, self.micro = model, list(items), batch_size, micro_batch_size
        self.seed, self.mesh = seed, mesh
        self.taken = 0

    def _chosen(self) -> list[Item]:
        """The next step's rows, short ones first."""
        numbers = range(self.taken, self.taken + self.batch_size)
        self.taken += self.batch_size
        chosen = []
        for epoch, group in itertools.groupby(numbers, key=lambda n: n // len(self.items)):
            order = stream(self.seed, "rows", epoch).permutation(len(self.items))
            chosen += [self.items[int(order[n % len(self.items)])] for n in group]
        return sorted(chosen, key=lambda item: item.size)

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """This process's micro-batches of one step; statistics: rows and epochs so far."""
        batches = [batch_of(group, self.model) for group in cut(self._chosen(), self.micro, self.mesh.lanes)]
        return self.mesh.share(batches, cost), self.statistics()

    def statistics(self) -> dict[str, float]:
        """Rows and epochs so far."""
        return {"rows": float(self.taken), "epoch": round(self.taken / len(self.items), 4)}

    def state_dict(self) -> dict[str, Any]:
        """The position in the rows."""
        return {"taken": self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self.taken = state["taken"]
