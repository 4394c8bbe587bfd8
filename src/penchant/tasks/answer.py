"""Answer a row's prompt; rewards and metrics say how well, the task only credits the whole answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context, Judgement, Measure, Reward, Spot
from penchant.errors import InputError
from penchant.records import Completion, Document, Prompt

__all__ = ["Answer", "Options", "build"]

RIGHT = "share of answers that are the reference, letter case and space aside"
Entry = str | dict[str, Any]


class Options(BaseModel, extra="forbid"):
    """Where the reference stands, and what judges."""

    column: str = Field("answer", description="a row's column that holds the right answer, if there is one")
    rewards: list[Entry] = Field(
        [], description="what `reward` is, {name, weight, ...options}; none: whether it is the right answer"
    )
    combine: Literal["product", "sum"] = Field("sum", description="how several rewards become one")
    metrics: list[Entry] = Field([], description="metrics or rewards that are measured beside, {name, ...options}")


class Answer:
    """A task of rows: it finds no prompts in documents.

    Args:
        rewards: (reward, weight) of each.
        product: multiply them (each to the power of its weight) instead of adding.
        metrics: by the name of the measure.
    """

    def __init__(
        self,
        column: str,
        rewards: Mapping[str, tuple[Reward, float]],
        product: bool,
        metrics: Mapping[str, Reward],
        tokenizer: Any,
    ):
        self.column, self.rewards, self.product = column, rewards, product
        self.metrics, self.tokenizer = metrics, tokenizer
        told = f"weighted {'product' if product else 'sum'} of {', '.join(rewards)}"
        self.measures = {
            "reward": Measure(told if rewards else RIGHT, "higher"),
            **{name: Measure(f"mean {name} of answers", "higher") for name in metrics},
            "length": Measure("characters of an answer"),
        }

    def spots(self, document: Document) -> list[Spot]:
        """None: prompts are rows."""
        return []

    def judge(self, prompt: Prompt, text: str, stop: str) -> Judgement:
        """Each measure; (0, 0), no verdict, where a reward gives none or the row has no reference."""
        found = {"reward": self._right(prompt, text)}
        if self.rewards or self.metrics:
            ids = () if self.tokenizer is None else tuple(self.tokenizer.encode(text))
            nothing = np.zeros(len(ids), np.float32)
            one = Completion(ids, nothing, nothing > 0, text, stop)
            if self.rewards:
                found["reward"] = self._together(prompt, one)
            for name, metric in self.metrics.items():
                value = _asked(metric, prompt, one)
                found[name] = (0.0, 0.0) if value is None else (value, 1.0)
        return Judgement({**found, "length": (float(len(text)), 1.0)}, text, len(text))

    def _together(self, prompt: Prompt, completion: Completion) -> tuple[float, float]:
        values = [(_asked(reward, prompt, completion), weight) for reward, weight in self.rewards.values()]
        known = [(value, weight) for value, weight in values if value is not None]
        if len(known) < len(values):
            return 0.0, 0.0
        if self.product:
            return math.prod(value**weight for value, weight in known), 1.0
        return sum(value * weight for value, weight in known), 1.0

    def _right(self, prompt: Prompt, text: str) -> tuple[float, float]:
        wanted = prompt.columns.get(self.column)
        return (float(_plain(text) == _plain(str(wanted))), 1.0) if wanted is not None else (0.0, 0.0)


def _asked(reward: Reward, prompt: Prompt, completion: Completion) -> float | None:
    (value,) = reward([prompt], [completion])
    return None if value is None else float(value)


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .!")


def build(options: Options, context: Context) -> Answer:
    """The task.

    Raises:
        InputError: no such metric or reward, or one that looks at a whole batch.
    """

    def made(entry: Entry) -> tuple[str, Reward, float]:
        assert context.build is not None
        plain = {"name": entry} if isinstance(entry, str) else dict(entry)
        name, weight = str(plain.pop("name", "")), float(plain.pop("weight", 1.0))
        reward = context.build("rewards", name, plain)
        if getattr(reward, "whole_batch", False):
            raise InputError(f"reward {name} looks at a whole batch, an answer is judged alone", "leave it out")
        return name.replace(":", "."), reward, weight

    if (options.rewards or options.metrics) and context.build is None:
        raise InputError("rewards and metrics need a context that builds them", "give the task to a stage")
    rewards = {name: (reward, weight) for name, reward, weight in map(made, options.rewards)}
    metrics = {name: reward for name, reward, _ in map(made, options.metrics)}
    return Answer(options.column, rewards, options.combine == "product", metrics, context.tokenizer)
