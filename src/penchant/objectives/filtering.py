"""Filtering: maximum likelihood on the documents whose mean score is good enough; the others are left out.

"Pretraining Language Models with Human Preferences" (Korbak et al., ICML 2023), section 2, "dataset filtering":
log p(x) where the mean of R over the segments of x is above a threshold, else 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.objectives.mle import Mle
from penchant.records import Document, Encoded
from penchant.text.control import encode_document, resolve_threshold, scores_of

__all__ = ["Filtering", "Options", "build"]


class Options(BaseModel, extra="forbid"):
    """What decides, and how strictly."""

    signal: str = Field("style", description="whose scores decide")
    least: float | str = Field(
        "median", description="mean score from which a document is kept: a number, median, or qX of the documents"
    )


class Filtering(Mle):
    """`Mle` of the documents that are kept."""

    def __init__(self, options: Options, least: float, context: Context):
        self.options, self.threshold, self.context = options, least, context

    def transform(self, document: Document, number: int, heldout: bool) -> Encoded | None:
        """The document's tokens; None where its mean score is too low. Held-out text is never left out."""
        scores = scores_of(document, self.options.signal)
        if not heldout and (not scores or float(np.mean(scores)) < self.threshold):
            return None
        return Encoded(*encode_document(document, self.context.tokenizer))


def build(options: Options, context: Context) -> Any:
    """The objective.

    Raises:
        InputError: the data have no such scores, or no such quantile of them.
    """
    if isinstance(options.least, float) or not context.data:
        return Filtering(options, options.least if isinstance(options.least, float) else 0.0, context)
    return Filtering(
        options, resolve_threshold(options.least, context.data, options.signal, "document_quantiles"), context
    )
