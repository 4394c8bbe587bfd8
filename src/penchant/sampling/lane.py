"""One lane of sampling: rows that step together, each place taken by the next request as soon as it is free.

A lane runs in one thread and shares nothing with other lanes but the weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from penchant.models import kernels
from penchant.models.frozen import Frozen
from penchant.sampling.cache import Cache, Prefix, Prompts, round_up
from penchant.sampling.options import Listen, Options, Sampled
from penchant.sampling.rows import Decode, Request, Rows
from penchant.sampling.warp import Choice, choose

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
        tell: called with (request, result) for each that ends.
        listen: called with what a request took at each step.
        stamp: tells the weights, for prefixes that are kept; None to keep none.
        stopped: looked at each step.
    """

    def __init__(
        self,
        model: Frozen,
        groups: Sequence[Group],
        options: Options,
        rows: int,
        *,
        tell: Callable[[int, Sampled], None],
        listen: Listen | None = None,
        decode: Decode | None = None,
        stamp: tuple[float, ...] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ):
        self.model, self.options, self.tell, self.listen, self.stamp = model, options, tell, listen, stamp
        self.waiting, self.stopped = deque(groups), stopped
        limit = model.config.max_position_embeddings
        self.rows = Rows(rows, options, limit, decode)
        self.group_of: list[Group | None] = [None] * rows
        places = min(limit, max(len(g.prompt) for g in groups) + options.room)
        self.cache = Cache(model, rows, places)
        self.states = torch.zeros(rows, model.config.hidden_size, dtype=model.dtype, device=model.device)
        penal = options.repetition_penalty != 1.0
        shape = (rows, model.config.vocab_size)
        self.seen = torch.zeros(shape, dtype=torch.bool, device=model.device) if penal else None

    @torch.inference_mode()
    def run(self) -> None:
        """Sample until every request has ended."""
        while not self.stopped():
            self._admit()
            self._take(self._choose())
            if not self.rows.live.any() and not self.waiting:
                return
            self._thin_out()
            if self.rows.live.any():
                self._step()

    def _choose(self) -> Choice:
        device = self.model.device
        uniforms = torch.from_numpy(self.rows.next_uniforms()).to(device)
        short = torch.from_numpy(self.rows.short()).to(device) if self.options.holds_on else None
        return choose(self.model.head(self.states), uniforms, self.options, self.seen, short)

    def _take(self, choice: Choice) -> None:
        rows, live = self.rows, np.flatnonzero(self.rows.live)
        top = None if choice.top is None else (choice.top[0].cpu().numpy(), choice.top[1].cpu().numpy())
        sampling = None if choice.sampling is None else choice.sampling.cpu().numpy()
        ended = rows.take(choice.ids.cpu().numpy(), choice.logprobs.cpu().numpy(), sampling, top)
        if self.seen is not None:
            self.seen[torch.from_numpy(live), torch.from_numpy(rows.last[live])] = True
        if self.listen:
            for row in live:
                request, at = rows.request[row], slice(rows.taken[row] - 1, rows.taken[row])
                assert request is not None
                self.listen(request.number, tuple(rows.ids[row, at].tolist()), rows.logprobs[row, at].copy())
        for row in ended:
            self._close(int(row))

    def _close(self, row: int) -> None:
        group, request = self.group_of[row], self.rows.request[row]
        assert group is not None and request is not None
        prefix = None
        if self.stamp is not None:
            fed = [*request.prompt, *self.rows.ids[row, : self.rows.taken[row] - 1].tolist()]
            prefix = self.cache.read(row, fed, self.stamp)
        self.tell(*self.rows.close(row, prompt_logprobs=group.prompt_logprobs, prefix=prefix))

    def _step(self) -> None:
        """Feed each row's newest token; free rows step along at place 0, which the next request overwrites."""
        rows, device = self.rows, self.model.device
        self.cache.fit(int(rows.place.max()) + 1)
        last, place = torch.from_numpy(rows.last).to(device), torch.from_numpy(rows.place).to(device)
        self.states = self.model.states(last, self.cache.mix(place))

    def _thin_out(self) -> None:
        """Drop free rows when nobody waits for them and enough have gathered."""
        live = np.flatnonzero(self.rows.live)
        if self.waiting or not len(live) or len(live) > 0.75 * len(self.rows.live):
            return
        self.rows.keep(live)
        self.group_of = [self.group_of[row] for row in live]
        index = torch.from_numpy(live).to(self.model.device)
        self.cache.keep(index)
        self.seen = None if self.seen is None else self.seen[index]

    def _admit(self) -> None:
        """Give free rows to those that wait; prompts that were not run yet are run together, a group's once."""
        free = deque(self.rows.free().tolist())
        entering: list[tuple[Group, list[int]]] = []
        while free and self.waiting:
            group = self.waiting[0]
            rows = [free.popleft() for _ in range(min(len(free), len(group.requests)))]
            for row in rows:
                self.rows.begin(row, group.requests.popleft())
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
            prompts = Prompts(self.model, [g.prompt[reuse[1] if reuse else 0 :] for g in groups], reuse)
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
        self.states[rows] = prompts.states[prompts.ends[sources]]
        for group, mine in part:
            if self.seen is not None:
                self.seen[mine] = False
                self.seen[torch.tensor(mine)[:, None], torch.tensor(group.prompt)] = True
            if not group.requests:
                group.run = None

    def _prompt_logprobs(self, prompts: Prompts, at: int, prompt: tuple[int, ...]) -> np.ndarray:
        end = int(prompts.ends[at])
        states = prompts.states[end + 1 - len(prompt) : end]
        labels = torch.tensor(prompt[1:], device=self.model.device)
        out = torch.empty(len(labels), dtype=torch.float32, device=self.model.device)
        size = max(1, _LOGITS // self.model.config.vocab_size)
        for a in range(0, len(labels), size):
            logits = self.model.head(states[a : a + size])
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
