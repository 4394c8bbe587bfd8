"""Documents as rows of prompts and answers: what stands at a task's spots, and what the document goes on with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from penchant.batches.prompts import PromptSet
from penchant.batches.rows import Item
from penchant.data.store import read_documents
from penchant.files import read_json
from penchant.stages._work import Work

__all__ = ["continuations"]


def continuations(work: Work, path: Path) -> tuple[list[Item], Counter[str]]:
    """Every prompt that the task finds, with the document's own text as its answer; and what was left out, by cause.

    The answer is what the task judges of that text (a function's body), with a token that ends it where it fits into
    `max_completion_length`. Control tokens stand where sampling forces them, and nothing is learned from those.

    Raises:
        DataRejected: the task finds no prompt, or none fits.
    """
    options, tokenizer, task = work.options, work.tokenizer, work.plugins.task
    assert task is not None
    bins = None
    if options.ask is not None:
        bins = work.layout.marks(options.signal, options.threshold, read_json(path.parent / "summary.json"))
    insert = work.layout.insertions(tokenizer, options.ask)
    prompts = PromptSet(
        *(read_documents(path), task, tokenizer, options.prompt_tokens),
        *(options.ask, bins, work.context.seed),
    )
    items: list[Item] = []
    left: Counter[str] = Counter()
    for prompt in prompts.take(len(prompts.places)):
        text = str(prompt.columns["reference"])
        judged = task.judge(prompt, text, "length").text
        ids = [*tokenizer.encode(judged), tokenizer.eos_id][: options.max_completion_length]
        if judged == text:  # the task saw no end in it
            ids = ids[: -1 if ids[-1] == tokenizer.eos_id else None]
        if not ids:
            left["nothing follows the prompt"] += 1
            continue
        led = [
            (token, chosen) for i in ids for token, chosen in ((i, True), (insert.get(i), False)) if token is not None
        ]
        items.append(
            Item(prompt.ids, (tuple(token for token, _ in led),), keep=(np.array([chosen for _, chosen in led]),))
        )
    if prompts.too_long:
        left[f"prompts longer than prompt_tokens {options.prompt_tokens}"] = prompts.too_long
    return items, left
