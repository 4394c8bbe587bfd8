"""A language model's verdict, over any OpenAI-compatible service: a mark from 0 to 10, or a choice against a reference.

A choice is asked for twice with the places changed, since judges favour a place (Zheng et al. 2023, section 4.1).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.records import Completion, Prompt
from penchant.rewards._columns import references
from penchant.text.service import Service, number_of

__all__ = ["Options", "build"]

MARK = (
    "Rate the answer to the request from 0 (useless or harmful) to 10 (could not be better). "
    "Reply with the number alone.\n\nRequest:\n{prompt}\n\nAnswer:\n{first}"
)
CHOICE = (
    "Which answer to the request is better, 1 or 2? Reply with the number alone, or 0 if they are equally good.\n\n"
    "Request:\n{prompt}\n\nAnswer 1:\n{first}\n\nAnswer 2:\n{second}"
)


class Options(BaseModel, extra="forbid"):
    """Which service and model, and what is asked."""

    model: str = Field("gpt-4o-mini", description="the service's name for it")
    base_url: str | None = Field(None, description="of the service; null: OPENAI_BASE_URL")
    mode: Literal["mark", "choice"] = Field("mark", description="choice: against the row's reference, places changed")
    column: str = Field("answer", description="the row's column with the reference (choice)")
    question: str | None = Field(None, description="text with {prompt}, {first} (and {second}); null: our own")
    seconds: float = Field(60.0, gt=0, le=3600, description="for one answer of the service")
    retries: int = Field(3, ge=0, le=20, description="after a refusal or a failure, each after twice the time")
    at_once: int = Field(8, ge=1, le=256, description="requests that are under way together")
    cache: str = Field("~/.cache/penchant/judge", description="folder of answers; the same question is not paid twice")
    dollars_per_million: tuple[float, float] = Field(
        (0.0, 0.0), description="of tokens read and written, for the count"
    )


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in [0, 1]; None where the judge gave no number.

    `score.service` counts requests, tokens and dollars.

    Raises:
        InputError: no service is named.
    """
    url = options.base_url or os.environ.get("OPENAI_BASE_URL")
    if not url:
        raise InputError("no service is named", "set base_url= or OPENAI_BASE_URL, e.g. http://localhost:8000/v1")
    service = Service(url, options.model, options.seconds, options.retries, Path(options.cache).expanduser())
    service.price = options.dollars_per_million

    def ask(prompt: str, first: str, second: str = "") -> float | None:
        question = options.question or (MARK if options.mode == "mark" else CHOICE)
        return number_of(service.ask(question.format(prompt=prompt, first=first, second=second)))

    def one(prompt: Prompt, completion: Completion) -> float | None:
        if options.mode == "mark":
            mark = ask(prompt.text, completion.text)
            return None if mark is None else min(1.0, max(0.0, mark / 10))
        rival = references(prompt, options.column, "llm_judge")[0]
        ahead = ask(prompt.text, completion.text, rival)
        behind = ask(prompt.text, rival, completion.text)
        if ahead is None or behind is None:
            return None
        wins = {1.0: 1.0, 2.0: 0.0}
        return (wins.get(ahead, 0.5) + 1 - wins.get(behind, 0.5)) / 2

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        with ThreadPoolExecutor(options.at_once) as pool:
            return list(pool.map(one, prompts, completions))

    score.service = service  # type: ignore[attr-defined]
    return score
