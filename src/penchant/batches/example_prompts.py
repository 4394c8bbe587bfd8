"""Prompts that are rows of a data set, in an endless seeded order; the face of `PromptSet`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penchant.errors import DataRejected
from penchant.records import Example, Prompt
from penchant.runtime.random import stream
from penchant.text.template import Template

__all__ = ["ExamplePrompts"]


class ExamplePrompts:
    """All rows' prompts; those longer than `max_tokens` are left out and counted in `too_long`.

    Attributes:
        places: rows that fit.
    """

    def __init__(self, examples: Sequence[Example], template: Template, max_tokens: int, seed: int):
        made = [self._prompt(example, template) for example in examples]
        self.places = [prompt for prompt in made if len(prompt.ids) <= max_tokens]
        self.too_long, self.seed = len(made) - len(self.places), seed
        self.epoch, self.place = 0, 0
        if not self.places:
            raise DataRejected(
                f"no prompt has at most {max_tokens} tokens" if made else "there is no row with a prompt",
                "raise prompt_tokens=" if made else "give rows with a column prompt",
            )

    @staticmethod
    def _prompt(example: Example, template: Template) -> Prompt:
        prompt = example.columns["prompt"]
        return Prompt(tuple(template.prompt_ids(prompt)), template.prompt_text(prompt), example.source, example.columns)

    def start(self, epoch: int, place: int) -> Iterator[Prompt]:
        """From a place on, each epoch in an order of its own."""
        while True:
            order = stream(self.seed, "prompts", epoch).permutation(len(self.places))
            for at in range(place, len(order)):
                self.epoch, self.place = epoch, at + 1
                yield self.places[int(order[at])]
            epoch, place = epoch + 1, 0

    def take(self, count: int) -> list[Prompt]:
        """The first `count` of the first epoch's order, or as many as there are."""
        order = stream(self.seed, "prompts", 0).permutation(len(self.places))[:count]
        return [self.places[int(i)] for i in order]
