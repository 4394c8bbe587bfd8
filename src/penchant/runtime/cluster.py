"""The workers of a Ray cluster: one process for each of its CPUs, for the calls of `data/parallel`."""

from __future__ import annotations

import importlib
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penchant.errors import InputError, MissingExtra

__all__ = ["Cluster"]

_RETRIES = 3  # of a call whose worker or machine was lost


class Cluster:
    """Actors on every machine of a cluster, each with an object of its own; Penchant must be installed there.

    Args:
        make: makes the object.
        address: of a cluster that runs ("auto" finds the one of this machine, "local" begins one here).

    Raises:
        MissingExtra: Ray is not installed.
        InputError: no cluster answers at this address.
    """

    def __init__(self, make: Callable[[], Any], address: str):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise MissingExtra("data.cluster", "ray") from error
        self._ray = ray
        try:
            _knock(address)
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError) as error:
            mend = "begin one with `ray start --head`, or give its address, or local"
            raise InputError(f"no Ray cluster at {address!r} ({error})", mend) from error
        count = max(1, int(ray.cluster_resources().get("CPU", 1)))
        actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES, scheduling_strategy="SPREAD")(
            _Worker
        )
        self.actors = [actor.remote(make) for _ in range(count)]

    def each(self, method: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """The results of `method` for each call's arguments, in order; calls are taken as they are needed."""
        waiting: deque[Any] = deque()
        turn = itertools.cycle(self.actors)
        for call in calls:
            waiting.append(next(turn).call.remote(method, call))
            if len(waiting) > 2 * len(self.actors):
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def close(self) -> None:
        """End the actors and leave the cluster."""
        for actor in self.actors:
            self._ray.kill(actor)
        self._ray.shutdown()

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # what the call itself raised
            raise error.cause from None


def _knock(address: str) -> None:
    """Ray asks a host that does not answer for five minutes, and then ends the process.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class _Worker:
    def __init__(self, make: Callable[[], Any]):
        self.own = make()

    def call(self, method: str, call: tuple[Any, ...]) -> Any:
        return getattr(self.own, method)(*call)
