"""What a run is about to learn from, shown before anything is trained: decoded rows, where the loss is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penchant.batches.rows import Item
from penchant.contracts import StageContext
from penchant.files import write_json
from penchant.text.tokenizer import Tokenizer

__all__ = ["show_rows"]

SHOWN, TAIL = 3, 60  # rows kept in preflight.json; characters of a prompt's end and an answer in the note


def show_rows(
    items: Sequence[Item], left: Mapping[str, int], tokenizer: Tokenizer, context: StageContext
) -> dict[str, Any]:
    """Write `preflight.json`; say in two lines how many rows and tokens there are, and what the first row looks like.

    Returns:
        Its content: `rows`, `left_out` by cause, `tokens`, `loss_tokens`, `longest_row`, and `examples`, each with its
        `prompt`, `answers` and for each answer the text that the loss is on.
    """
    labels = sum(int(keep.sum()) for item in items for keep in item.kept())
    found: dict[str, Any] = {
        "rows": len(items),
        "left_out": dict(left),
        "tokens": sum(item.size for item in items),
        "loss_tokens": labels,
        "longest_row": max(item.size for item in items),
        "examples": [_example(item, tokenizer) for item in items[:SHOWN]],
    }
    write_json(context.folder / "preflight.json", found)
    told = "".join(f", {count} left out: {cause}" for cause, count in left.items())
    context.note(
        f"{context.name}: {len(items)} rows{told}; loss on {labels:,} of {found['tokens']:,} tokens, "
        f"the longest row has {found['longest_row']}"
    )
    first = found["examples"][0]
    answers = " | ".join(repr(answer[:TAIL]) for answer in first["answers"])
    context.note(f"{context.name}: the first row: ...{first['prompt'][-TAIL:]!r} -> {answers}")
    return found


def _example(item: Item, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "prompt": tokenizer.decode(item.prompt),
        "answers": [tokenizer.decode(completion) for completion in item.completions],
        "loss_on": [
            tokenizer.decode([token for token, kept in zip(completion, keep, strict=True) if kept])
            for completion, keep in zip(item.completions, item.kept(), strict=True)
        ],
    }
