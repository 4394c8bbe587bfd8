"""Calls of an object's methods over many pieces by several processes: results in order, only a few pieces at once."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from typing import Any, Protocol

__all__ = ["Processes", "Workers"]

Maker = Callable[[], Any]


class Workers(Protocol):
    """Who does the work: this process, several (`Processes`), or those of a cluster (`runtime/cluster.py`)."""

    def each(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """The results of `method` for each call's arguments, in order; calls are taken as they are needed."""
        ...

    def close(self) -> None:
        """End them."""
        ...


class Processes:
    """Processes of this machine; one alone works here.

    Args:
        make: makes the object; it is called once in each process, and so must survive pickling.
        count: processes.
        here: an object that was made, for work in this process; by default made when it is needed.
    """

    def __init__(self, make: Maker, count: int, here: Any = None):
        self.make, self.count = make, count
        self._pool: ProcessPoolExecutor | None = None
        self._here = here

    def each(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """See `Workers.each`; where processes cannot be begun, or one was killed, the work goes on in this one."""
        waiting: deque[tuple[tuple[Any, ...], Future[Any]]] = deque()
        left = iter(calls)
        broken = self.count < 2
        while not broken:
            while len(waiting) < 2 * self.count + 1 and (call := next(left, None)) is not None:
                waiting.append((call, self._asked(method, call)))
            if not waiting:
                return
            call, future = waiting.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:  # no memory, or a main script that cannot be imported again
                broken, self.count = True, 1
                waiting.appendleft((call, future))
            else:
                yield result
        for call in chain([call for call, _ in waiting], left):
            yield self._call_here(method, call)

    def close(self) -> None:
        """End the processes; what they were at is lost."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _asked(self, method: str, call: tuple[Any, ...]) -> Future[Any]:
        try:
            return self._started().submit(_call, method, call)
        except BrokenProcessPool as error:  # told in its turn, so that results stay in order
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Not fork: the parent may have threads (pyarrow's), which a forked child would miss.
            start = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, mp_context=start, initializer=_begin, initargs=(self.make,))
        return self._pool

    def _call_here(self, method: str, call: tuple[Any, ...]) -> Any:
        if self._here is None:
            self._here = self.make()
        return getattr(self._here, method)(*call)


_own: Any = None  # a worker process's object


def _begin(make: Maker) -> None:
    global _own
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _own = make()


def _end_with_parent() -> None:
    """A parent killed outright cannot end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(method: str, call: tuple[Any, ...]) -> Any:
    return getattr(_own, method)(*call)
