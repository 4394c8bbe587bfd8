"""One lane of sampling: rows that step together, each place taken by the next request as soon as it is free.

A lane runs in one thread and shares nothing with other lanes but the weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from penchant.models import kernels
from penchant.models.frozen import Frozen
from penchant.models.replay import Tape
from penchant.runtime.cards import on_cuda
from penchant.sampling.board import Board, Face
from penchant.sampling.cache import Cache, Prefix, Prompts, round_up
from penchant.sampling.graph import Step
from penchant.sampling.options import Options
from penchant.sampling.rows import Request

__all__ = ["Group", "Lane"]

_TOGETHER = 4096  # prompts run together hold about so many tokens
_LOGITS = 1 << 22  # logits of prompts are made so many at once


@dataclass(slots=True)
class Group:
    """Requests with one prompt, which is run once.

    Attributes:
        reuse: a kept text and how many of its tokens the prompt begins with, or None.
        run: the prompts that this one was run with and its place among them, once it was and while requests wait.
    """

    prompt: tuple[int, ...]
    requests: deque[Request]
    reuse: tuple[Prefix, int] | None = None
    run: tuple[Prompts, int] | None = None
    prompt_logprobs: np.ndarray | None = None


class Lane:
    """Samples groups of requests, `rows` at once.

    Args:
        stamp: tells the weights, for prefixes that are kept; None to keep none.
        tape: keeps what the linear layers gave; None to keep nothing.
    """

    def __init__(
        self,
        model: Frozen,
        groups: Sequence[Group],
        options: Options,
        rows: int,
        face: Face,
        stamp: tuple[float, ...] | None = None,
        tape: Tape | None = None,
    ):
        self.model, self.options, self.face, self.stamp, self.tape = model, options, face, stamp, tape
        self.waiting = deque(groups)
        limit = model.config.max_position_embeddings
        self.board = Board((rows, model.config.vocab_size, limit), options, face, model.device)
        self.rows = self.board.rows
        self.group_of: list[Group | None] = [None] * rows
        places = min(limit, max(len(g.prompt) for g in groups) + options.room)
        self.cache = Cache(model, rows, places)
        self.step = Step(model, self.cache)
        self.fed = np.zeros((rows, options.room), np.int64)  # where on the tape each row's tokens stand
        self.worth = 0.5 if on_cuda(model.device) else 0.75  # rows go when fewer than this share live
        self.states = torch.zeros(rows, model.config.hidden_size, dtype=model.dtype, device=model.device)

    @torch.inference_mode()
    def run(self) -> None:
        """Sample until every request has ended."""
        while not self.face.stopped():
            self._admit()
            for row in self.board.take(self.model.logits(self.states, self.options.q_weight)):
                self._close(int(row))
            if not self.rows.live.any() and not self.waiting:
                return
            self._thin_out()
            if self.rows.live.any():
                self._step()

    def _close(self, row: int) -> None:
        group, request = self.group_of[row], self.rows.request[row]
        assert group is not None and request is not None
        prefix = None
        if self.stamp is not None:
            fed = [*request.prompt, *self.rows.ids[row, : self.rows.taken[row] - 1].tolist()]
            prefix = self.cache.read(row, fed, self.stamp)
        if self.tape is not None:
            self.tape.texts[request.number] = self.fed[row, : self.rows.taken[row] - 1].copy()
        self.board.close(row, prompt_logprobs=group.prompt_logprobs, prefix=prefix)

    def _step(self) -> None:
        """Feed each row's newest token; free rows step along at place 0, which the next request overwrites."""
        self.cache.fit(int(self.rows.place.max()) + 1)
        last, place = self.board.last()
        if self.tape is None:
            self.states = self.step(last, place)
            return
        products: list[Tensor] = []
        self.states = self.step.states(last, place, products)
        rows = np.flatnonzero(self.rows.live)
        self.fed[rows, self.rows.taken[rows] - 1] = self.tape.add(products) + rows

    def _thin_out(self) -> None:
        """Drop free rows when nobody waits for them and enough have gathered."""
        live = np.flatnonzero(self.rows.live)
        if self.waiting or not len(live) or len(live) > self.worth * len(self.rows.live):
            return
        self.cache.keep(self.board.keep(live))
        self.group_of, self.fed = [self.group_of[row] for row in live], self.fed[live]

    def _admit(self) -> None:
        """Give free rows to those that wait; prompts that were not run yet are run together, a group's once."""
        free = deque(self.rows.free().tolist())
        entering: list[tuple[Group, list[int]]] = []
        while free and self.waiting:
            group = self.waiting[0]
            rows = [free.popleft() for _ in range(min(len(free), len(group.requests)))]
            for row in rows:
                self.board.begin(row, group.requests.popleft())
                self.group_of[row] = group
            entering.append((group, rows))
            if not group.requests:
                self.waiting.popleft()
        if entering:
            self.cache.fit(max(int(self.rows.place.max()) + 1, self.cache.reach))
        for part in _batches(entering):
            self._enter(part)

    def _enter(self, part: Sequence[tuple[Group, list[int]]]) -> None:
        """Fill the rows of a few groups from their prompts."""
        device, groups = self.model.device, [group for group, _ in part]
        if groups[0].run is None:
            reuse = groups[0].reuse
            tails = [g.prompt[reuse[1] if reuse else 0 :] for g in groups]
            products: list[Tensor] | None = None if self.tape is None else []
            prompts = Prompts(self.model, tails, reuse, self.options.prompt_logprobs, products)
            if self.tape is not None and products is not None:
                begin = self.tape.add(products)
                for group, end in zip(groups, prompts.ends.tolist(), strict=True):
                    self.tape.prompts.setdefault(group.prompt, begin + end + 1 + np.arange(-len(group.prompt), 0))
            for at, group in enumerate(groups):
                group.run = prompts, at
                if self.options.prompt_logprobs:
                    group.prompt_logprobs = self._prompt_logprobs(prompts, at, group.prompt)
        run = groups[0].run
        assert run is not None
        prompts = run[0]
        sources = torch.tensor([g.run[1] for g, rows in part for _ in rows if g.run]).to(device)
        rows = torch.tensor([row for _, rows in part for row in rows]).to(device)
        self.cache.write(prompts, sources, rows)
        self.states[rows] = prompts.last[sources]
        for group in groups:
            if not group.requests:
                group.run = None

    def _prompt_logprobs(self, prompts: Prompts, at: int, prompt: tuple[int, ...]) -> np.ndarray:
        assert prompts.states is not None
        end = int(prompts.ends[at])
        states = prompts.states[end + 1 - len(prompt) : end]
        labels = torch.tensor(prompt[1:], device=self.model.device)
        out = torch.empty(len(labels), dtype=torch.float32, device=self.model.device)
        size = max(1, _LOGITS // self.model.config.vocab_size)
        for a in range(0, len(labels), size):
            logits = self.model.logits(states[a : a + size], self.options.q_weight)
            total = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
            temperature = self.options.temperature or 1.0
            kernels.log_probs(logits, labels[a : a + size], temperature, (out[a : a + size], total, None))
        return out.cpu().numpy()


def _batches(entering: Sequence[tuple[Group, list[int]]]) -> list[list[tuple[Group, list[int]]]]:
    """Groups to enter together: one that was run or goes on from a prefix by itself, the rest in pieces."""
    out: list[list[tuple[Group, list[int]]]] = []
    fresh: list[tuple[Group, list[int]]] = []
    for pair in entering:
        if pair[0].run is not None or pair[0].reuse is not None:
            out.append([pair])
            continue
        longest = round_up(max(len(g.prompt) for g, _ in [*fresh, pair]))
        if fresh and longest * (len(fresh) + 1) > _TOGETHER:
            out.append(fresh)
            fresh = []
        fresh.append(pair)
    return [*out, fresh] if fresh else out
