"""Prompts of a task from prepared documents: found once as (document, spot), made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penchant.contracts import Spot, Task
from penchant.errors import DataRejected
from penchant.records import Document, Prompt
from penchant.runtime.random import stream
from penchant.text.control import Bins
from penchant.text.prompts import make_prompt
from penchant.text.tokenizer import Tokenizer

__all__ = ["PromptSet"]


class PromptSet:
    """All prompts that a task finds in documents, in an endless seeded order.

    Args:
        ask: the control token of the last segment (and while sampling); the others keep their own. None: none at all.
        bins: what the other segments' tokens come from, where one is asked for.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        task: Task,
        tokenizer: Tokenizer,
        max_tokens: int,
        ask: str | None,
        bins: Bins | None,
        seed: int,
    ):
        self.documents = list(documents)
        self.places: list[tuple[int, Spot]] = [(i, spot) for i, d in enumerate(documents) for spot in task.spots(d)]
        if not self.places:
            raise DataRejected("the task finds no prompt in the data", "choose another task=, or give other text")
        self.tokenizer, self.max_tokens, self.ask = tokenizer, max_tokens, ask
        self.bins, self.seed = bins, seed
        self._labels: dict[int, list[str]] = {}
        self.too_long = 0

    def _make(self, number: int, spot: Spot) -> Prompt | None:
        document = self.documents[number]
        if self.ask is None or self.bins is None:
            return make_prompt(document, spot, self.tokenizer, self.max_tokens)
        if number not in self._labels:
            self._labels[number] = self.bins.of(document)
        return make_prompt(document, spot, self.tokenizer, self.max_tokens, self._labels[number], last=self.ask)

    def __iter__(self) -> Iterator[Prompt]:
        """One epoch after the other, each in an order of its own."""
        return self.start(0, 0)

    def start(self, epoch: int, place: int) -> Iterator[Prompt]:
        """From a place on; headers longer than `max_tokens` are left out and counted in `too_long`."""
        while True:
            order = stream(self.seed, "prompts", epoch).permutation(len(self.places))
            usable = 0
            for at in range(place, len(order)):
                self.epoch, self.place = epoch, at + 1
                prompt = self._make(*self.places[int(order[at])])
                if prompt is None:
                    self.too_long += 1
                else:
                    usable += 1
                    yield prompt
            if place == 0 and not usable:
                raise DataRejected("every prompt is longer than prompt_tokens", "raise prompt_tokens=")
            epoch, place = epoch + 1, 0

    def take(self, count: int) -> list[Prompt]:
        """The first `count` prompts of the first epoch's order, or as many as there are: never one place twice."""
        found: list[Prompt] = []
        for at in stream(self.seed, "prompts", 0).permutation(len(self.places)):
            if len(found) == count:
                break
            prompt = self._make(*self.places[int(at)])
            if prompt is None:
                self.too_long += 1
            else:
                found.append(prompt)
        if not found:
            raise DataRejected("every prompt is longer than prompt_tokens", "raise prompt_tokens=")
        return found
