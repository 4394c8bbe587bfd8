"""Prompts: the tokens that stand before a spot of a document, control tokens where they stood in training."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from penchant.contracts import Spot
from penchant.records import Document, Prompt
from penchant.text.tokenizer import Tokenizer

__all__ = ["REFERENCE_CHARACTERS", "make_prompt"]

REFERENCE_CHARACTERS = 4000
_AT_ONCE = 16  # segments encoded in one call, from the spot backwards


def make_prompt(
    document: Document,
    spot: Spot,
    tokenizer: Tokenizer,
    max_tokens: int,
    labels: Sequence[str] | None = None,
    last: str | None = None,
) -> Prompt | None:
    """The last `max_tokens` text tokens before `spot.end`, each segment led by its label's token.

    Control tokens come on top of `max_tokens`. A segment that the limit cuts has no control token, as in a training
    window that begins within it.

    Args:
        document: with its segments.
        spot: where the prompt ends; the segment before it (cut there, if it goes on) is the header.
        max_tokens: text tokens at most.
        labels: one a segment of the document; None: no control tokens at all.
        last: the header's label instead of its own.

    Returns:
        The prompt; its columns are the spot's and `reference`, the text that follows in the document (up to 4,000
        characters). None if there is nothing before the spot, or the header alone has more than `max_tokens` tokens.
    """
    count = bisect_left(document.ends, spot.end) + 1 if document.ends and spot.end > 0 else 0
    if count == 0 or spot.end > len(document.text):
        return None
    starts = (0, *document.ends[:-1])
    pieces: list[list[int]] = []  # from the header backwards
    room = max_tokens
    whole = True
    for stop in range(count, 0, -_AT_ONCE):
        begin = max(0, stop - _AT_ONCE)
        texts = [document.text[starts[k] : min(document.ends[k], spot.end)] for k in range(begin, stop)]
        for ids in reversed(tokenizer.encode_batch(texts)):
            if len(ids) > room:
                if not pieces:
                    return None
                whole = False
                ids = ids[len(ids) - room :]
            if ids or whole:
                pieces.append(ids)
            room -= len(ids)
            if not whole or room == 0:
                break
        if not whole or room == 0:
            break
    return _join(document, spot, tokenizer, pieces, whole, count, labels, last)


def _join(
    document: Document,
    spot: Spot,
    tokenizer: Tokenizer,
    pieces: list[list[int]],
    whole: bool,
    count: int,
    labels: Sequence[str] | None,
    last: str | None,
) -> Prompt:
    """Pieces (from the header backwards; the farthest is cut unless `whole`) as one prompt."""
    ids: list[int] = []
    for back in range(len(pieces) - 1, -1, -1):
        if labels is not None and (whole or back < len(pieces) - 1):
            label = last if back == 0 and last is not None else labels[count - 1 - back]
            ids.append(tokenizer.control_ids[label])
        ids.extend(pieces[back])
    text = tokenizer.decode([i for piece in reversed(pieces) for i in piece])
    reference = document.text[spot.end : spot.end + REFERENCE_CHARACTERS]
    return Prompt(tuple(ids), text, document.source, {**spot.columns, "reference": reference})
