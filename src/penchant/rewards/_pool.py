"""A reward in processes of its own, with a limit of time: what hangs or dies is ended, counted and made anew.

`workers: N` and `timeout: SECONDS` in a reward's entry ask for it. Each completion is asked for alone, so that no
verdict depends on how many workers there are. A reward without workers runs in a thread of this process, which nobody
can end: one that takes too long is left behind. Its limit is a call's (a whole batch), and there is one by default, so
that a reward that hangs is told of and no run stands still for it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.plugins import plug
from penchant.records import Completion, Prompt

__all__ = ["KEYS", "Limited", "Pool", "limited"]

KEYS = ("workers", "timeout")
TIMEOUT = 600.0  # seconds, where an entry names none
Verdicts = list[Any]  # float, None, or an exception where there is none


def limited(entry: Mapping[str, Any], context: Context, made: Callable[[], Any]) -> Any:
    """The reward of an entry, in processes or with a limit where it asks for that.

    Args:
        made: builds it here.

    Raises:
        InputError: workers for a Python function, or a number that makes no sense.
    """
    workers, timeout = entry.get("workers", 0), entry.get("timeout", TIMEOUT)
    name = entry.get("name")
    if not isinstance(workers, int) or isinstance(workers, bool) or not 0 <= workers <= 256:
        raise InputError(f"reward {name}: workers is {workers!r}", "give a whole number; 0 for none")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise InputError(f"reward {name}: timeout is {timeout!r}", "give seconds above 0, or null for no limit")
    if workers:
        if "call" in entry:
            raise InputError(f"reward {name} is a Python function", "put it into a file (name: ./FILE.py) for workers")
        if getattr(made(), "whole_batch", False):
            raise InputError(f"reward {name} looks at a whole batch at once", "leave workers out")
        return Pool({k: v for k, v in entry.items() if k not in KEYS}, context.seed, workers, timeout)
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
            except BaseException as error:  # sys.exit() of a user's own would else look like a reward that hangs
                found.append(RuntimeError(f"{type(error).__name__}: {error}"))

        thread = threading.Thread(target=work, daemon=True, name="reward")
        thread.start()
        thread.join(self.timeout)
        if not found:
            return [TimeoutError(f"no verdict within {self.timeout:g} seconds")] * len(completions)
        if isinstance(found[0], Exception):
            raise found[0]
        verdicts: Verdicts = found[0]
        return verdicts


class _Worker:
    """A process that builds the reward and answers."""

    def __init__(self, entry: Mapping[str, Any], seed: int):
        start = multiprocessing.get_context("spawn")  # not fork: the parent has threads
        self.pipe, theirs = start.Pipe()
        self.process = start.Process(target=_serve, args=(theirs, dict(entry), seed), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False

    def ask(self, prompts: Any, completions: Any, columns: Mapping[str, Any], timeout: float | None) -> Verdicts:
        """Verdicts.

        Raises:
            TimeoutError, EOFError: none in time; its process died.
        """
        if not self.ready:  # to start and to build the reward is not the completion's time
            self.ready = bool(self.pipe.recv())
        self.pipe.send((prompts, completions, columns))
        if not self.pipe.poll(timeout):
            raise TimeoutError(f"no verdict within {timeout:g} seconds")
        found: Verdicts = self.pipe.recv()
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Pool:
    """A reward, built anew in each of some processes; a thread each hands over and waits.

    Args:
        entry: the plug-in's, `{name, ...options}`.
        timeout: seconds for a completion, from when a worker is ready for it.
    """

    def __init__(self, entry: Mapping[str, Any], seed: int, workers: int, timeout: float | None):
        self.entry, self.seed, self.count, self.timeout = entry, seed, workers, timeout
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, "rewards")
        self._early: dict[int, tuple[Completion, Future[Verdicts]]] = {}

    def ahead(self, prompt: Prompt, completion: Completion, judge: Callable[[], Any]) -> None:
        """Begin with a completion while others are still sampled; the call that follows takes its verdict.

        Args:
            judge: the task's judgement of it; where it raises, that is the completion's verdict.
        """

        def work() -> Verdicts:
            try:
                judged = judge()
            except Exception as error:  # a task's fault costs this completion alone
                return [error]
            return self._part([prompt], [completion], {"judgements": [judged]})

        self._early[id(completion)] = (completion, self._threads.submit(work))  # held, so that its id stays its own

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> Verdicts:
        """Verdicts in order; an exception in the place of each that failed, died or took too long."""
        early, self._early = self._early, {}
        late = [i for i, c in enumerate(completions) if id(c) not in early]
        parts = [[i] for i in late]  # alone, so that one which hangs takes no other with it, whatever the workers

        def begin(part: Sequence[int]) -> Future[Verdicts]:
            mine = {name: [values[i] for i in part] for name, values in columns.items()}
            return self._threads.submit(self._part, [prompts[i] for i in part], [completions[i] for i in part], mine)

        futures = [begin(part) for part in parts]
        found: Verdicts = [early[id(c)][1].result()[0] if id(c) in early else None for c in completions]
        for part, future in zip(parts, futures, strict=True):
            for i, verdict in zip(part, future.result(), strict=True):
                found[i] = verdict
        return found

    def _part(self, prompts: Any, completions: Any, columns: Mapping[str, Any]) -> Verdicts:
        """Verdicts of a few, from a worker that is idle or new."""
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = _Worker(self.entry, self.seed)
        try:
            found = worker.ask(prompts, completions, columns, self.timeout)
        except (EOFError, OSError) as error:
            worker.end()
            wrong = error if isinstance(error, TimeoutError) else RuntimeError("its process died")
            return [wrong] * len(completions)
        self._idle.put(worker)
        return found

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()


def _serve(pipe: Connection, entry: dict[str, Any], seed: int) -> None:
    """A worker's life: build the reward, answer until the other end is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    made: Any = None
    with contextlib.suppress(Exception):  # told with the first completion, which builds it again
        made = plug("rewards", entry, Context(seed))
    pipe.send(True)
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
