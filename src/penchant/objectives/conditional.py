"""Conditional training: maximum likelihood, with a token before each segment that says whether it is good or bad.

"Pretraining Language Models with Human Preferences" (Korbak et al., ICML 2023), section 2: log p(segment | token), the
token's own log-prob left out. Some tokens are left out, so that the model also writes without.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.objectives.mle import Mle
from penchant.records import Document, Encoded
from penchant.runtime.random import stream
from penchant.text.control import BAD, GOOD, encode_document, labels, resolve_threshold, scores_of

__all__ = ["Conditional", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """What the tokens say, and how many there are."""

    signal: str = Field("style", description="whose scores say what is good")
    threshold: float | str = Field(0.0, description="score from which a segment is good; median, or qX")
    drop: float = Field(0.05, ge=0, le=1, description="share of control tokens left out")
    soft: bool = Field(
        False,
        description="scores are probabilities of being good (raters'): tokens are drawn with them, once for each "
        "segment; held-out text goes by the threshold",
    )


class Conditional(Mle):
    """`Mle` of the content tokens of documents with control tokens."""

    control = (GOOD, BAD)

    def __init__(self, options: Options, threshold: float, context: Context):
        self.options, self.threshold, self.context = options, threshold, context

    def transform(self, document: Document, number: int, heldout: bool) -> Encoded:
        """The document's tokens, each segment led by its label's; none is left out of held-out text."""
        marks = labels(document, self.options.signal, self.threshold)
        if self.options.soft and not heldout:
            chances = scores_of(document, self.options.signal)
            if not all(0 <= p <= 1 for p in chances):
                span = f"{min(chances):g} to {max(chances):g}"
                raise InputError(
                    f"soft needs probabilities, and signal {self.options.signal} gave {span}",
                    "name a signal of probabilities, or leave soft out",
                    file=document.source,
                )
            drawn = stream(self.context.seed, "soft labels", number).random(len(chances))
            marks = [GOOD if u < p else BAD for u, p in zip(drawn, chances, strict=True)]
        ids, control = encode_document(document, self.context.tokenizer, marks)
        if heldout or not self.options.drop:
            return Encoded(ids, control)
        stay = ~control | (stream(self.context.seed, "drop", number).random(len(ids)) >= self.options.drop)
        return Encoded(ids[stay], control[stay])


def build(options: Options, context: Context) -> Any:
    """The objective.

    Raises:
        InputError: the data have no such scores, or no such quantile of them.
    """
    if isinstance(options.threshold, float) and not context.data:
        return Conditional(options, options.threshold, context)
    return Conditional(options, resolve_threshold(options.threshold, context.data, options.signal), context)
