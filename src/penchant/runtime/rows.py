"""Row-parallel threads: each differentiates its own leaf views of the weights, and gradients are summed in fixed order.

One thread a core on whole micro-batches has no barrier inside an operation, as intra-op threads have.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from penchant.runtime.device import one_thread

__all__ = ["Rows", "deal"]

T = TypeVar("T")
R = TypeVar("R")


def deal(costs: Sequence[float], shares: int) -> list[list[int]]:
    """Split item numbers into shares of about equal cost, the dearest first; the same for the same costs.

    Returns:
        `shares` lists of ascending numbers; some are empty where there are fewer items.
    """
    found: list[list[int]] = [[] for _ in range(shares)]
    loads = [0.0] * shares
    for number in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = loads.index(min(loads))
        found[least].append(number)
        loads[least] += max(costs[number], 1e-9)  # free items go round too
    return [sorted(share) for share in found]


class Rows:
    """A number of threads, each with one intra-op thread and views of a model of its own."""

    def __init__(self, threads: int):
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._views: weakref.WeakKeyDictionary[nn.Module, list[nn.Module]] = weakref.WeakKeyDictionary()

    def each(
        self, model: nn.Module, items: Sequence[T], one: Callable[[Any, T], R], cost: Callable[[T], float]
    ) -> list[R]:
        """`one(model, item)` for all items, in the order of the items; gradients add up in `model`.

        A single item, or a single thread, runs here with all intra-op threads.
        """
        threads = min(self.threads, len(items))
        if threads < 2:
            return [one(model, item) for item in items]
        models = [model, *self._views_of(model, threads - 1)]
        shares = deal([cost(item) for item in items], threads)

        def work(number: int) -> list[tuple[int, R]]:
            return [(i, one(models[number], items[i])) for i in shares[number]]

        pool = self._started()
        jobs = [pool.submit(work, number) for number in range(threads)]
        try:
            wait(jobs)  # all of them, also where one fails: nobody works on when this returns
            found = dict(pair for job in jobs for pair in job.result())
            _add_gradients(models)
        finally:
            for view in models[1:]:
                view.zero_grad(set_to_none=True)
        return [found[i] for i in range(len(items))]

    def _started(self) -> ThreadPoolExecutor:
        if self._pool is None:
            torch.get_num_threads()  # torch settles a thread's number at its first question; later would undo ours
            self._pool = ThreadPoolExecutor(self.threads, "rows", initializer=one_thread)
        return self._pool

    def _views_of(self, model: nn.Module, count: int) -> list[nn.Module]:
        """Copies of a module whose parameters share the memory of its own, and have gradients of their own."""
        views = self._views.setdefault(model, [])
        if views and not _shares(views[0], model):
            views.clear()
        while len(views) < count:
            views.append(_view(model))
        for view in views:
            view.train(model.training)
        return views[:count]


def _view(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(b): b for b in model.buffers()}
    memo |= {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def _shares(view: nn.Module, model: nn.Module) -> bool:
    pairs = zip(view.parameters(), model.parameters(), strict=True)
    return all(a.data_ptr() == b.data_ptr() and a.requires_grad == b.requires_grad for a, b in pairs)


def _add_gradients(models: Sequence[nn.Module]) -> None:
    """Add the gradients of all but the first to the first's, one after the other."""
    first = list(models[0].parameters())
    for view in models[1:]:
        mine: list[Tensor] = []
        theirs: list[Tensor] = []
        for weight, other in zip(first, view.parameters(), strict=True):
            if other.grad is None:
                continue
            if weight.grad is None:
                weight.grad = other.grad
            else:
                mine.append(weight.grad)
                theirs.append(other.grad)
        if mine:
            torch._foreach_add_(mine, theirs)
