"""The bookkeeping of rows sampled at once, in NumPy: what each has taken, what is forced next, who ended and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from penchant.runtime.random import stream
from penchant.sampling.options import Options, Sampled, Stop, Top

__all__ = ["Decode", "Request", "Rows"]

Decode = Callable[[list[int]], str]
_REASONS: tuple[Stop, ...] = ("length", "end", "stop")
_LENGTH, _END, _STOP = range(3)


@dataclass(frozen=True, slots=True)
class Request:
    """One text wanted: its place in the caller's list, its prompt, the (seed, index) of the stream it draws from, and
    how many tokens it may choose where that is fewer than the others may.
    """

    number: int
    prompt: tuple[int, ...]
    draws: tuple[int, int]
    most: int | None = None


class Rows:
    """State of `count` rows, each free or held by a request.

    Attributes:
        request: the request in each row, or None.
        live: bool [count], rows that go on.
        last, place: int64 [count], the newest token of each row and where it stands in its text; 0 in free rows.
        taken: int64 [count], tokens taken so far, forced ones included.
    """

    def __init__(self, count: int, options: Options, limit: int, decode: Decode | None = None):
        self.options, self.limit, self.decode = options, limit, decode
        self.request: list[Request | None] = [None] * count
        self.live = np.zeros(count, bool)
        self.last, self.place, self.taken, self.chosen = (np.zeros(count, np.int64) for _ in range(4))
        self.most = np.full(count, options.max_new_tokens)
        room = options.room
        self.ids, self.forced = np.zeros((count, room), np.int64), np.zeros((count, room), bool)
        self.logprobs = np.zeros((count, room), np.float32)
        self.sampling = np.zeros((count, room), np.float32) if options.warps and options.temperature else None
        shape = (count, room, options.top_logprobs)
        self.top = (np.zeros(shape, np.int64), np.zeros(shape, np.float32)) if options.top_logprobs else None
        self.uniforms = np.zeros((count, options.max_new_tokens))
        self.reason = np.zeros(count, np.int64)
        insert = dict(options.insert or {})
        self._end = np.array(sorted(set(options.end)), np.int64)
        self._next_forced = np.full(max([*insert, 0]) + 1, -1, np.int64)
        for after, token in insert.items():
            self._next_forced[after] = token
        # A stop string of n bytes ends within n tokens that give text; forced ones between them may give none.
        longest = max((len(s.encode()) for s in options.stop), default=0)
        self._window = longest * (2 if insert else 1) + 4

    def free(self) -> np.ndarray:
        """Indices of free rows."""
        return np.flatnonzero(~self.live)

    def begin(self, row: int, request: Request) -> None:
        """Give a free row to a request."""
        self.request[row], self.live[row] = request, True
        self.last[row], self.place[row] = request.prompt[-1], len(request.prompt) - 1
        self.taken[row] = self.chosen[row] = 0
        self.most[row] = self.options.max_new_tokens if request.most is None else request.most
        seed, index = request.draws
        self.uniforms[row] = stream(seed, "sample", index).random(self.options.max_new_tokens)

    def next_uniforms(self) -> np.ndarray:
        """The number each row draws with at its next choice, float64 [count]."""
        at = np.minimum(self.chosen, self.uniforms.shape[1] - 1)
        return self.uniforms[np.arange(len(at)), at]

    def short(self) -> np.ndarray:
        """bool [count], rows that may not end yet."""
        return self.chosen < self.options.min_new_tokens

    def take(
        self,
        chosen: np.ndarray,
        logprobs: np.ndarray,
        sampling: np.ndarray | None = None,
        top: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Take a token for each live row (a forced one instead of the chosen one); the rows that ended with it."""
        rows = np.flatnonzero(self.live)
        small = np.minimum(self.last[rows], len(self._next_forced) - 1)
        force = np.where(small == self.last[rows], self._next_forced[small], -1)
        forced = force >= 0
        tokens = np.where(forced, force, chosen[rows])
        at = self.taken[rows]
        self.ids[rows, at], self.forced[rows, at] = tokens, forced
        self.logprobs[rows, at] = np.where(forced, 0.0, logprobs[rows])
        if self.sampling is not None and sampling is not None:
            self.sampling[rows, at] = np.where(forced, 0.0, sampling[rows])
        if self.top is not None and top is not None:
            self.top[0][rows, at], self.top[1][rows, at] = top[0][rows], top[1][rows]
        self.taken[rows] += 1
        self.chosen[rows] += ~forced
        self.last[rows] = tokens
        self.place[rows] += 1
        full = (self.chosen[rows] >= self.most[rows]) | (self.place[rows] + 1 >= self.limit)
        closing = ~forced & np.isin(tokens, self._end) if len(self._end) else np.zeros(len(rows), bool)
        self.reason[rows] = np.where(closing, _END, _LENGTH)
        if self.options.stop:
            self._look_for_stops(rows[~forced & ~closing])
        ended = rows[closing | full | (self.reason[rows] == _STOP)]
        self.live[ended] = False
        return ended

    def _look_for_stops(self, rows: np.ndarray) -> None:
        """Mark rows whose newest token brought a stop string."""
        assert self.decode is not None
        for row in rows[self.chosen[rows] >= self.options.min_new_tokens]:
            tail = self.ids[row, max(0, self.taken[row] - self._window) : self.taken[row]].tolist()
            text = self.decode(tail)
            if any(s in text for s in self.options.stop):
                before = self.decode(tail[:-1])
                if any(text.count(s) > before.count(s) for s in self.options.stop):
                    self.reason[row] = _STOP

    def close(self, row: int, **more: object) -> tuple[int, Sampled]:
        """Free an ended row; its request's number and result."""
        request, count = self.request[row], int(self.taken[row])
        assert request is not None
        self.request[row] = None
        self.last[row] = self.place[row] = 0
        done = Sampled(
            tuple(self.ids[row, :count].tolist()),
            self.logprobs[row, :count].copy(),
            self.forced[row, :count].copy(),
            _REASONS[self.reason[row]],
            None if self.sampling is None else self.sampling[row, :count].copy(),
            None if self.top is None else Top(self.top[0][row, :count].copy(), self.top[1][row, :count].copy()),
            **more,  # type: ignore[arg-type]
        )
        return request.number, done

    def keep(self, rows: Sequence[int] | np.ndarray) -> None:
        """Go on with these rows alone."""
        self.request = [self.request[row] for row in rows]
        for name in (
            "live",
            "last",
            "place",
            "taken",
            "chosen",
            "ids",
            "forced",
            "logprobs",
            "uniforms",
            "reason",
            "most",
        ):
            setattr(self, name, getattr(self, name)[rows])
        self.sampling = None if self.sampling is None else self.sampling[rows]
        self.top = None if self.top is None else (self.top[0][rows], self.top[1][rows])
