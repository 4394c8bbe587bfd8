"""A reward in processes of its own, with a limit of time: what hangs or dies is ended, counted and made anew.

`workers: N` and `timeout: SECONDS` in a reward's entry ask for it. The completions are dealt out in parts of the same
sizes always, and a part's verdicts do not depend on who gives them. A reward without workers that has a time limit runs
in a thread of this process, which nobody can end: it is left behind.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.plugins import checked, plug
from penchant.records import Completion, Prompt

__all__ = ["KEYS", "Limited", "Pool", "TimeoutFailure", "limited"]

KEYS = ("workers", "timeout")
Verdicts = list[Any]  # float, None, or an exception where there is none


class TimeoutFailure(Exception):
    """A reward gave no verdict in time."""


def limited(entry: Mapping[str, Any], context: Context, made: Callable[[], Any]) -> Any:
    """The reward of an entry, in processes or with a limit where it asks for that.

    Args:
        made: builds it here.

    Raises:
        InputError: workers for a Python function, or a number that makes no sense.
    """
    workers, timeout = entry.get("workers", 0), entry.get("timeout")
    name = entry.get("name")
    if not isinstance(workers, int) or isinstance(workers, bool) or not 0 <= workers <= 256:
        raise InputError(f"reward {name}: workers is {workers!r}", "give a whole number; 0 for none")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise InputError(f"reward {name}: timeout is {timeout!r}", "give seconds above 0, or null for no limit")
    if workers:
        if "call" in entry:
            raise InputError(f"reward {name} is a Python function", "put it into a file (name: ./FILE.py) for workers")
        plain = {k: v for k, v in entry.items() if k not in KEYS}
        checked("rewards", plain)
        return Pool(plain, context.seed, workers, timeout)
    reward = made()
    return reward if timeout is None else Limited(reward, float(timeout))


class Limited:
    """A reward whose call may take so many seconds; where it takes more, none of its completions gets a verdict."""

    def __init__(self, reward: Any, timeout: float):
        self.reward, self.timeout = reward, timeout
        self.whole_batch = getattr(reward, "whole_batch", False)

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> Verdicts:
        """As the reward's own."""
        found: list[Any] = []

        def work() -> None:
            try:
                found.append(list(self.reward(prompts, completions, **columns)))
            except Exception as error:
                found.append(error)

        thread = threading.Thread(target=work, daemon=True, name="reward")
        thread.start()
        thread.join(self.timeout)
        if not found:
            return [TimeoutFailure(f"no verdict within {self.timeout:g} seconds")] * len(completions)
        if isinstance(found[0], Exception):
            raise found[0]
        verdicts: Verdicts = found[0]
        return verdicts


class _Worker:
    def __init__(self, entry: Mapping[str, Any], seed: int):
        start = multiprocessing.get_context("spawn")  # not fork: the parent has threads
        self.pipe, theirs = start.Pipe()
        self.process = start.Process(target=_serve, args=(theirs, dict(entry), seed), daemon=True)
        self.process.start()
        theirs.close()
        self.part = 0
        self.due = float("inf")

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Pool:
    """A reward, built anew in each of some processes.

    Args:
        entry: the plug-in's, `{name, ...options}`.
        timeout: seconds for a part (a sixteenth of a worker's share of the batch, at least one completion).
    """

    def __init__(self, entry: Mapping[str, Any], seed: int, workers: int, timeout: float | None):
        self.entry, self.seed, self.count, self.timeout = entry, seed, workers, timeout
        self._workers: list[_Worker] = []

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> Verdicts:
        """Verdicts in order; an exception in the place of each that failed, died or took too long."""
        size = max(1, len(completions) // (16 * self.count))
        parts = [slice(a, a + size) for a in range(0, len(completions), size)]
        found: list[Verdicts] = [[]] * len(parts)
        waiting = deque(range(len(parts)))
        busy: dict[Any, _Worker] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.count:
                    worker = self._workers.pop() if self._workers else _Worker(self.entry, self.seed)
                    worker.part = waiting.popleft()
                    mine = parts[worker.part]
                    worker.pipe.send((prompts[mine], completions[mine], {k: v[mine] for k, v in columns.items()}))
                    worker.due = time.monotonic() + self.timeout if self.timeout else float("inf")
                    busy[worker.pipe] = worker
                self._collect(busy, parts, found)
        finally:
            for worker in busy.values():  # where the caller was stopped
                worker.end()
        return [verdict for part in found for verdict in part]

    def _collect(self, busy: dict[Any, _Worker], parts: Sequence[slice], found: list[Verdicts]) -> None:
        """Take what is there, and end what is late."""
        due = min(worker.due for worker in busy.values())
        left = None if due == float("inf") else max(0.0, due - time.monotonic())
        for pipe in wait(list(busy), left):
            assert isinstance(pipe, Connection)
            worker = busy.pop(pipe)
            try:
                found[worker.part] = pipe.recv()
                self._workers.append(worker)
            except EOFError:
                worker.end()
                found[worker.part] = self._failed(parts[worker.part], RuntimeError("its process died"))
        for worker in [w for w in busy.values() if w.due <= time.monotonic()]:
            del busy[worker.pipe]
            worker.end()
            late = TimeoutFailure(f"no verdict within {self.timeout:g} seconds")
            found[worker.part] = self._failed(parts[worker.part], late)

    @staticmethod
    def _failed(part: slice, error: Exception) -> Verdicts:
        return [error] * (part.stop - part.start)

    def close(self) -> None:
        """End the processes."""
        while self._workers:
            self._workers.pop().end()

    def __del__(self) -> None:
        self.close()


def _serve(pipe: Connection, entry: dict[str, Any], seed: int) -> None:
    """A worker's life: build the reward, answer until the other end is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    made: Any = None
    while True:
        try:
            prompts, completions, columns = pipe.recv()
        except EOFError:
            return
        try:
            made = plug("rewards", entry, Context(seed)) if made is None else made
            found: Verdicts = list(made(prompts, completions, **columns))
        except Exception as error:
            found = _alone(made, prompts, completions, columns, error)
        pipe.send(found)


def _alone(made: Any, prompts: Any, completions: Any, columns: Mapping[str, Any], error: Exception) -> Verdicts:
    """Each completion by itself, so that one that fails costs no others their verdict."""
    if made is None or len(completions) == 1 or getattr(made, "whole_batch", False):
        return [RuntimeError(f"{type(error).__name__}: {error}")] * len(completions)
    found: Verdicts = []
    for i in range(len(completions)):
        mine = slice(i, i + 1)
        try:
            found += list(made(prompts[mine], completions[mine], **{k: v[mine] for k, v in columns.items()}))
        except Exception as wrong:
            found.append(RuntimeError(f"{type(wrong).__name__}: {wrong}"))
    return found


def _end_with_parent() -> None:
    """A parent killed outright cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
