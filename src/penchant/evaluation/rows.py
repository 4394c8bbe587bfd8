"""Rows of prompts and answers to evaluate on: the same for every model, and their answers as text to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penchant.errors import DataRejected
from penchant.evaluation.perplexity import Window
from penchant.records import Example, Prompt
from penchant.runtime.random import stream
from penchant.text.template import Template, text_of
from penchant.text.tokenizer import Tokenizer

__all__ = ["answer_of", "answer_windows", "row_prompts"]


def answer_of(columns: Mapping[str, Any]) -> Any:
    """A row's own answer, a text or messages; None where it has none."""
    return columns.get("completion", columns.get("chosen"))


def row_prompts(
    examples: Sequence[Example], templates: Sequence[Template], max_tokens: int, count: int, seed: int
) -> tuple[list[list[Prompt]], int]:
    """Prompts of a seeded choice of rows that fit in each model's tokens, one list a template.

    Returns:
        The prompts, with the row's columns, its answer's text as `reference` (and as `answer`, where there is no such
        column); and how many rows of those looked at had more than `max_tokens`.

    Raises:
        DataRejected: no row has a prompt that fits.
    """
    found: list[list[Prompt]] = []
    too_long = 0
    for i in stream(seed, "evaluation prompts").permutation(len(examples)):
        columns = examples[int(i)].columns
        if "prompt" not in columns:
            continue
        asked, answer = columns["prompt"], answer_of(columns)
        known = {} if answer is None else {"answer": text_of(answer), "reference": text_of(answer)}
        own = [tuple(template.prompt_ids(asked)) for template in templates]
        if max(map(len, own)) > max_tokens:
            too_long += 1
            continue
        text = templates[0].prompt_text(asked)
        found.append([Prompt(ids, text, examples[int(i)].source, {**known, **columns}) for ids in own])
        if len(found) == count:
            break
    if not found:
        many = f"all {too_long} prompts have more than {max_tokens} tokens" if too_long else "no row has a prompt"
        raise DataRejected(many, "raise prompt_tokens=" if too_long else "give rows with a column prompt")
    return [list(prompts) for prompts in zip(*found, strict=True)], too_long


def answer_windows(
    examples: Sequence[Example], tokenizers: Mapping[str, Tokenizer], size: int, tokens: int, seed: int
) -> tuple[dict[str, list[Window]], dict[str, Any]]:
    """Rows' own answers after their prompts, about `tokens` scored ones of the first tokenizer's, in each tokenizer.

    A token that ends an answer is scored with it. Rows longer than `size` in any tokenizer are left out and counted.
    """
    templates = {name: Template(tokenizer) for name, tokenizer in tokenizers.items()}
    windows: dict[str, list[Window]] = {name: [] for name in tokenizers}
    first, total, left_out = next(iter(tokenizers)), 0, 0
    for i in stream(seed, "perplexity").permutation(len(examples)):
        example = examples[int(i)]
        answer = answer_of(example.columns)
        if answer is None or total >= tokens:
            continue
        own = {name: _window(example, answer, template) for name, template in templates.items()}
        if max(len(window.ids) for window in own.values()) > size:
            left_out += 1
            continue
        total += int(own[first].scored.sum())
        for name, window in own.items():
            windows[name].append(window)
    count = len(windows[first])
    return windows, {"windows": count, "tokens": total, "rows_too_long": left_out}


def _window(example: Example, answer: Any, template: Template) -> Window:
    before, after = template.pair_ids(example.columns.get("prompt", ""), answer)
    scored = np.arange(len(before) + len(after)) >= max(1, len(before))  # nothing stands before a first token
    ids = np.array([*before, *after])
    return Window(
        example.source, ids, np.zeros(len(ids), bool), scored, len(text_of(answer).encode("utf-8", "replace"))
    )
