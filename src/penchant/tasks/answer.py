"""Answer a row's prompt; rewards say how well, the task only credits the whole answer."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import BaseModel, Field

from penchant.contracts import Context, Judgement, Measure, Spot
from penchant.records import Document, Prompt

__all__ = ["Answer", "Options", "build"]

MEASURES = MappingProxyType(
    {
        "reward": Measure("share of answers that are the reference, letter case and space aside", "higher"),
        "length": Measure("characters of an answer"),
    }
)


class Options(BaseModel, extra="forbid"):
    """Where the reference stands."""

    column: str = Field("answer", description="a row's column that holds the right answer, if there is one")


class Answer:
    """A task of rows: it finds no prompts in documents."""

    measures = MEASURES

    def __init__(self, column: str):
        self.column = column

    def spots(self, document: Document) -> list[Spot]:
        """None: prompts are rows."""
        return []

    def judge(self, prompt: Prompt, text: str, stop: str) -> Judgement:
        """Right or wrong where the row has a reference; without one, no verdict."""
        wanted = prompt.columns.get(self.column)
        right = (float(_plain(text) == _plain(str(wanted))), 1.0) if wanted is not None else (0.0, 0.0)
        return Judgement({"reward": right, "length": (float(len(text)), 1.0)}, text, len(text))


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .!")


def build(options: Options, context: Context) -> Answer:
    """The task."""
    return Answer(options.column)
