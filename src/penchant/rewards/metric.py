"""Any metric that compares with references as a reward; short: `{name: rouge}` or `{name: "metric:rouge"}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.plugins import checked
from penchant.records import Completion, Prompt
from penchant.rewards._columns import references

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """The metric, and where its references stand."""

    metric: str = Field(description="the name of the metric")
    options: dict[str, Any] = Field({}, description="its options")
    column: str = Field("answer", description="the row's column that holds the reference, or a list of them")
    first_line: bool = Field(False, description="only the completion's first line counts")


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in the metric's range.

    Raises:
        InputError: no such metric, or one that compares with nothing.
    """
    module, own = checked("metrics", {"name": options.metric, **options.options})
    if not getattr(module, "REFERENCES", False):
        raise InputError(f"metric {options.metric} compares with no references", "take bleu, rouge, exact_match ...")
    metric = module.build(own, context)

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        texts = [c.text.strip().partition("\n")[0] if options.first_line else c.text for c in completions]
        return list(metric(texts, [references(p, options.column, options.metric) for p in prompts]))

    return score
