"""What a run is about to learn from, shown before anything is trained: decoded rows, where the loss is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penchant.batches.credit import earned
from penchant.batches.experience import Experience
from penchant.batches.rows import Item
from penchant.batches.statistics import statistics
from penchant.contracts import StageContext
from penchant.files import write_json
from penchant.text.tokenizer import Tokenizer

__all__ = ["marked", "show_rollout", "show_rows"]

OPEN, CLOSE = "\u27e6", "\u27e7"  # what is learned from stands between them
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


def show_rollout(found: Experience, samples: int, tokenizer: Tokenizer, context: StageContext) -> dict[str, Any]:
    """Write `preflight.json` of a first rollout; say in two lines what rewards were like and what the first is.

    Returns:
        Its content: rewards' mean and spread, shares, and `examples`, each a prompt, a completion in which what is
        learned from stands in brackets, and its rewards.
    """
    stats = statistics(found, samples)
    shown = [_rollout_example(found, i, tokenizer) for i in range(0, min(len(found.prompts), SHOWN * samples), samples)]
    told = {
        **{name: _known(value) for name, value in stats.items()},
        "prompts": len(found.prompts) // samples,
        "completions": len(found.prompts),
        "examples": shown,
    }
    write_json(context.folder / "preflight.json", told)
    context.note(
        f"{context.name}: the first rollout: reward {stats['reward']:.3g}, spread within a prompt "
        f"{stats['reward_std']:.3g}, {stats['frac_reward_zero_std']:.0%} of prompts without any; "
        f"{stats['completions/mean_length']:.0f} tokens, "
        f"{stats['completions/clipped_ratio']:.0%} cut"
    )
    first = shown[0]
    context.note(f"{context.name}: the first completion: ...{first['prompt'][-TAIL:]!r} -> {first['marked'][:TAIL]!r}")
    return told


def _rollout_example(found: Experience, number: int, tokenizer: Tokenizer) -> dict[str, Any]:
    completion = found.completions[number]
    earns = earned(completion, found.credits[number], tokenizer)
    return {
        "prompt": tokenizer.decode(found.prompts[number].ids),
        "marked": marked(completion.ids, earns, tokenizer),
        "reward": _known(found.scored.reward[number]),
        "rewards": {name: _known(values[number]) for name, values in found.scored.parts.items()},
    }


def _known(value: float) -> float | None:
    """A number for JSON; None where there was no verdict."""
    return float(value) if np.isfinite(value) else None


def marked(ids: Sequence[int], learned: np.ndarray, tokenizer: Tokenizer) -> str:
    """A text in which what the loss is on stands in brackets."""
    parts, start = [], 0
    for end in [*(np.flatnonzero(np.diff(learned.astype(int))) + 1), len(ids)]:
        text = tokenizer.decode(list(ids[start:end]))
        parts.append(f"{OPEN}{text}{CLOSE}" if len(learned) and learned[start] else text)
        start = end
    return "".join(parts)


def _example(item: Item, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "prompt": tokenizer.decode(item.prompt),
        "answers": [tokenizer.decode(completion) for completion in item.completions],
        "marked": tokenizer.decode(item.prompt)
        + " | ".join(marked(ids, keep, tokenizer) for ids, keep in zip(item.completions, item.kept(), strict=True)),
        "loss_on": [
            tokenizer.decode([token for token, kept in zip(completion, keep, strict=True) if kept])
            for completion, keep in zip(item.completions, item.kept(), strict=True)
        ],
    }
