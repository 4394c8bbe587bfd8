"""What can be asked of a sampler, and what it gives back; the same for every kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from penchant.errors import InputError

__all__ = ["Listen", "Options", "Sampled", "Stop", "Top", "check_prompts"]

Stop = Literal["end", "stop", "length"]
Listen = Callable[[int, tuple[int, ...], np.ndarray], None]  # (request, new ids, their logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to sample. Temperature, bans and q_weight make the policy; what comes after only warps what is drawn from it.

    Attributes:
        max_new_tokens: chosen tokens at most; forced ones come on top (and take room in the context).
        min_new_tokens: so many are chosen before an end token or a stop string may end the text (a warp).
        temperature: 0 always takes the likeliest token.
        q_weight: of the smaller of a model's target action values, added to its logits before the temperature (ILQL,
            Snell et al. 2023, section 4.3); 0 for the model as it is.
        ban: token ids that cannot be chosen.
        end: token ids that end a text; the one chosen is the last of its ids.
        stop: strings that end a text; the ids are kept as sampled, also where the last goes beyond the string.
        insert: after token a, feed token b: `{newline: good}`. Also after a prompt that ends with a.
        top_k: draw from the k likeliest only; 0 for all.
        top_p: draw from the fewest that hold so much of the mass (Holtzman et al. 2020).
        min_p: draw from those at least so likely as a share of the likeliest (Nguyen et al. 2024).
        repetition_penalty: of tokens seen before, divides positive scores, multiplies negative ones (Keskar et al.
            2019).
        top_logprobs: give the n likeliest tokens at each step, with their log-probs.
        prompt_logprobs: give the log-prob of each prompt token given those before (temperature included, bans not).
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    q_weight: float = 0.0
    ban: Sequence[int] = ()
    end: Sequence[int] = ()
    stop: Sequence[str] = ()
    insert: Mapping[int, int] | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    top_logprobs: int = 0
    prompt_logprobs: bool = False

    def __post_init__(self) -> None:
        wrong = {
            "max_new_tokens": self.max_new_tokens < 1,
            "min_new_tokens": not 0 <= self.min_new_tokens <= self.max_new_tokens,
            "temperature": not 0 <= self.temperature < float("inf"),
            "q_weight": not 0 <= self.q_weight < float("inf"),
            "top_k": self.top_k < 0,
            "top_p": not 0 < self.top_p <= 1,
            "min_p": not 0 <= self.min_p < 1,
            "repetition_penalty": not 0 < self.repetition_penalty < float("inf"),
            "top_logprobs": self.top_logprobs < 0,
            "stop": isinstance(self.stop, str) or not all(self.stop),
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise InputError(f"{name} is {getattr(self, name)!r}", f"{name} {_RANGES[name]}")

        self.forced_in_a_row  # noqa: B018  refuses a circle

    @property
    def forced_in_a_row(self) -> int:
        """How many forced tokens may follow one another.

        Raises:
            InputError: `insert` goes round in a circle.
        """
        insert, longest = dict(self.insert or {}), 0
        for token in insert:
            count = 0
            while token in insert:
                token, count = insert[token], count + 1
                if count > len(insert):
                    raise InputError("insert goes round in a circle", "leave one of its tokens out")
            longest = max(longest, count)
        return longest

    @property
    def warps(self) -> bool:
        """Whether tokens are drawn from another distribution than the policy's own."""
        return self.cuts or self.repetition_penalty != 1.0 or self.holds_on

    @property
    def cuts(self) -> bool:
        """Whether unlikely tokens are left out."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0

    @property
    def holds_on(self) -> bool:
        """Whether ending is held back at first."""
        return self.min_new_tokens > 0 and bool(self.end)

    @property
    def room(self) -> int:
        """Tokens that may come, forced ones included."""
        return self.max_new_tokens + (self.max_new_tokens + 1) * self.forced_in_a_row


_RANGES = {
    "max_new_tokens": "is at least 1",
    "min_new_tokens": "goes from 0 to max_new_tokens",
    "temperature": "is 0 (the likeliest token) or above",
    "q_weight": "is 0 (none) or above",
    "top_k": "is 0 (all) or above",
    "top_p": "is above 0, and 1 for all",
    "min_p": "goes from 0 (all) to below 1",
    "repetition_penalty": "is above 0, and 1 for none",
    "top_logprobs": "is 0 (none) or above",
    "stop": "is a list of strings that are not empty",
}


@dataclass(frozen=True, slots=True)
class Top:
    """The likeliest tokens at each step, best first: ids int64 and log-probs float32, [T, n] both."""

    ids: np.ndarray
    logprobs: np.ndarray


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was sampled for one request.

    Attributes:
        ids: chosen and forced tokens; the end token too, where one was chosen.
        logprobs: float32 [len(ids)], under the policy's own distribution (temperature and bans included, top-k and
            the like not); 0 at forced tokens.
        forced: bool [len(ids)].
        stop: "end" (an end token), "stop" (a stop string) or "length" (the limit).
        sampling_logprobs: float32 [len(ids)], under the distribution that was drawn from, where that is another
            one; None where it is the policy's, and at temperature 0, where nothing is drawn.
        top: the likeliest tokens of the policy at each step, where asked for.
        prompt_logprobs: float32 [len(prompt) - 1], where asked for.
        prefix: what a conversation goes on from, where asked for (`generate(keep=True)`).
    """

    ids: tuple[int, ...]
    logprobs: np.ndarray
    forced: np.ndarray
    stop: Stop
    sampling_logprobs: np.ndarray | None = None
    top: Top | None = None
    prompt_logprobs: np.ndarray | None = None
    prefix: Any = field(default=None, repr=False)


def check_prompts(
    prompts: Sequence[Sequence[int]],
    options: Options,
    vocabulary: int,
    limit: int,
    most: Sequence[int] | None = None,
) -> None:
    """Refuse an empty prompt, one that does not fit the context with its completion, and ids that are none.

    Raises:
        InputError: names the prompt.
    """
    for number, prompt in enumerate(prompts, 1):
        if not prompt:
            raise InputError("the prompt is empty", "give it at least one token", file="prompt", row=number)
        new = options.max_new_tokens if most is None else most[number - 1]
        if len(prompt) + new > limit:
            raise InputError(
                f"{len(prompt)} tokens and {new} new ones pass the model's context of {limit}",
                "shorten the prompt or max_new_tokens",
                file="prompt",
                row=number,
            )
        if not 0 <= min(prompt) <= max(prompt) < vocabulary:
            wrong = next(i for i in prompt if not 0 <= i < vocabulary)
            raise InputError(
                f"token {wrong} is not of the model's {vocabulary}",
                "encode the prompt with the model's own tokenizer",
                file="prompt",
                row=number,
            )
    insert = dict(options.insert or {})
    for name, ids in (("ban", options.ban), ("end", options.end), ("insert", [*insert, *insert.values()])):
        if odd := [i for i in ids if not 0 <= i < vocabulary]:
            raise InputError(f"{name} has token {odd[0]}, not of the model's {vocabulary}", "leave it out")
