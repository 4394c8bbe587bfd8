"""What objectives that go by each segment's score have in common: documents whose tokens carry it."""

from __future__ import annotations

import numpy as np

from penchant.contracts import Context
from penchant.records import Document, Encoded
from penchant.text.control import encode_scored

__all__ = ["ByScore"]


class ByScore:
    """An objective over tokens with a column `score`, that of the segment they are in."""

    quantities: tuple[str, ...] = ("logprobs",)
    needs = ("score",)

    def __init__(self, signal: str, context: Context):
        self.signal, self.context = signal, context

    def transform(self, document: Document, number: int, heldout: bool) -> Encoded:
        """The document's tokens, each with its segment's score."""
        ids, scores = encode_scored(document, self.context.tokenizer, self.signal)
        return Encoded(ids, np.zeros(len(ids), bool), {"score": scores})
