"""A probability said in words by a language model, over any OpenAI-compatible service: how likely people are to agree.

"Just ask for calibration" (Tian et al. 2023) found that stated probabilities are better calibrated than token
probabilities of chat models. Against a text of comparison the question is asked twice with the places changed, since
judges favour a place (Zheng et al. 2023, section 4.1). Answers are kept on disk: the same question is not paid twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from penchant.contracts import Context
from penchant.errors import DataRejected, InputError
from penchant.records import Segment
from penchant.text.service import Service, ServiceError, number_of

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build"]

RANGE = (0.0, 1.0)
LANGUAGES = "any"  # those that the model reads
REMOTE = True

ALONE = (
    "Would people say that this text is {quality}? Give the probability from 0 to 100 that a reader picked at random "
    "says so. Reply with the number alone.\n\nText:\n{text}"
)
PAIR = (
    "Two texts follow. Give the probability from 0 to 100 that a reader picked at random says that text 1 is more "
    "{quality} than text 2. Reply with the number alone.\n\nText 1:\n{text}\n\nText 2:\n{other}"
)


class Options(BaseModel, extra="forbid"):
    """Which service and model, and what is asked."""

    quality: str = Field("well written", description="what the text is to be, as it stands in the question")
    against: str | None = Field(None, description="a text of comparison; both orders are asked")
    question: str | None = Field(None, description="text with {text} (and {other}) instead of ours; asks for 0 to 100")
    model: str = Field("gpt-4o-mini", description="the service's name for it")
    base_url: str | None = Field(None, description="of the service; null: OPENAI_BASE_URL")
    otherwise: float | None = Field(
        None, ge=0, le=1, description="the score where it gives no number or fails; null: that stops the run"
    )
    seconds: float = Field(60.0, gt=0, le=3600, description="for one answer of the service")
    retries: int = Field(3, ge=0, le=20, description="after a refusal or a failure, each after twice the time")
    at_once: int = Field(8, ge=1, le=256, description="requests that are under way together")
    cache: str = Field("~/.cache/penchant/judge", description="folder of answers")
    dollars_per_million: tuple[float, float] = Field((0.0, 0.0), description="of tokens read and written")

    @field_validator("question")
    @classmethod
    def _has_text(cls, value: str | None) -> str | None:
        if value is not None and "{text}" not in value:
            raise ValueError("a question holds {text}")
        return value


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal, each segment by itself; `score.service` counts requests, tokens and dollars.

    Raises:
        InputError: no service is named.
    """
    url = options.base_url or os.environ.get("OPENAI_BASE_URL")
    if not url:
        raise InputError("no service is named", "set base_url= or OPENAI_BASE_URL, e.g. http://localhost:8000/v1")
    service = Service(url, options.model, options.seconds, options.retries, Path(options.cache).expanduser())
    service.price = options.dollars_per_million

    def ask(text: str, other: str = "") -> float:
        question = options.question or (ALONE if options.against is None else PAIR)
        try:
            said = number_of(service.ask(question.format(text=text, other=other, quality=options.quality)))
            problem = "it gave no number from 0 to 100"
        except ServiceError as error:
            said, problem = None, str(error)
        if said is None or not 0 <= said <= 100:
            if options.otherwise is None:
                raise DataRejected(
                    f"signal verbalised: {problem}", "ask otherwise, or set otherwise= for such segments"
                )
            return options.otherwise
        return said / 100

    def one(segment: Segment) -> float:
        if options.against is None:
            return ask(segment.text)
        return (ask(segment.text, options.against) + 1 - ask(options.against, segment.text)) / 2

    def score(segments: Sequence[Segment]) -> list[float]:
        with ThreadPoolExecutor(options.at_once) as pool:
            return list(pool.map(one, segments))

    score.service = service  # type: ignore[attr-defined]
    return score
