"""Share of a sample's word bigrams that are new in it and rare in its batch; a factor against repetition.

Meant to multiply another reward: without it, a policy that is paid for form learns one form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import Context
from penchant.metrics.distinct import ngrams
from penchant.records import Completion, Prompt

__all__ = ["Options", "build"]


class Options(BaseModel):
    """Options of the reward."""

    model_config = ConfigDict(extra="forbid")
    n: int = Field(default=2, ge=1, description="words in an n-gram")
    share: float = Field(default=0.05, gt=0, le=1, description="of the batch's samples that may hold an n-gram")


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in [0, 1]; 0 for a text of fewer than n words, which has nothing to show.

    It looks at the whole batch at once. At least one sample may hold an n-gram, however small the batch. Texts are
    those that the task judged where the column `judgements` is given, else the completions'.
    """

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        judgements = columns.get("judgements")
        texts = [c.text for c in completions] if judgements is None else [j.text for j in judgements]
        grams = [ngrams(text, options.n) for text in texts]
        holders = Counter(gram for sample in grams for gram in set(sample))
        most = max(1, int(options.share * len(texts) + 1e-9))
        return [sum(holders[gram] <= most for gram in set(sample)) / len(sample) if sample else 0.0 for sample in grams]

    score.whole_batch = True  # type: ignore[attr-defined]  # asked of one completion alone it would say another thing
    return score
