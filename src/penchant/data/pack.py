"""Token sequences -> a flat Batch: next-token labels, masks and columns aligned once, for every stage."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from penchant.records import Batch

__all__ = [
    "completion_batch", "masked_batch", "next_token_batch", "pair_batch", "shared_prompt_batch",
]  # fmt: skip


def next_token_batch(
    sequences: Sequence[np.ndarray],
    keep: Sequence[np.ndarray] | None = None,
    columns: Mapping[str, Sequence[np.ndarray]] | None = None,
    temperature: float = 1.0,
    banned: tuple[int, ...] = (),
) -> Batch:
    """A batch in which each token of each sequence, but the first, is asked for given those before it.

    Args:
        sequences: S arrays of at least 2 token ids; the last token of each is only a label.
        keep: for each sequence bool [n], False where that token is no label (a control token, a prompt).
        columns: name -> for each sequence float [n], aligned with its tokens (the first entry is unused).
        temperature, banned: the policy's, see Batch.

    Raises:
        ValueError: a sequence has fewer than 2 tokens.
    """
    if any(len(s) < 2 for s in sequences):
        raise ValueError("each sequence needs at least 2 tokens")
    lengths = np.array([len(s) - 1 for s in sequences], dtype=np.int64)
    inputs = np.concatenate([s[:-1] for s in sequences]).astype(np.int64)
    labels = np.concatenate([s[1:] for s in sequences]).astype(np.int64)
    positions = np.concatenate([np.arange(n) for n in lengths])
    unit = np.repeat(np.arange(len(sequences)), lengths)
    at = np.arange(len(inputs))
    flat = {k: np.concatenate([a[1:] for a in v]).astype(np.float32) for k, v in (columns or {}).items()}
    if keep is not None:
        kept = np.concatenate([k[1:] for k in keep]).astype(bool)
        labels, at, unit = labels[kept], at[kept], unit[kept]
        flat = {k: v[kept] for k, v in flat.items()}
    return Batch(inputs, positions, lengths, labels, at, unit, flat, temperature, banned)


def completion_batch(
    prompts: Sequence[tuple[int, ...]],
    completions: Sequence[tuple[int, ...]],
    keep: Sequence[np.ndarray],
    columns: Mapping[str, Sequence[np.ndarray]],
    *,
    shared: bool,
    start: int | None = None,
    temperature: float = 1.0,
    banned: tuple[int, ...] = (),
) -> Batch:
    """A batch in which the tokens of completions are asked for, each given its prompt.

    Args:
        prompts, completions: token ids, at least 1 each.
        keep: bool [n] for each completion, False where that token is no label.
        columns: name -> float [n] for each completion.
        shared: a prompt that several completions in a row have stands once.
        start: the token that a sequence-to-sequence model's decoder begins with; None for other models.
    """
    if start is not None:
        sources, targets = ([np.array(row, np.int64) for row in rows] for rows in (prompts, completions))
        return pair_batch(sources, targets, start, keep, columns, temperature, banned)
    if not shared:
        heads = [len(p) for p in prompts]
        return next_token_batch(
            [np.array([*p, *c], np.int64) for p, c in zip(prompts, completions, strict=True)],
            [np.concatenate([np.zeros(n, bool), k]) for n, k in zip(heads, keep, strict=True)],
            {
                name: [np.concatenate([np.zeros(n, np.float32), v]) for n, v in zip(heads, values, strict=True)]
                for name, values in columns.items()
            },
            temperature,
            banned,
        )
    runs = [0] + [i for i in range(1, len(prompts)) if prompts[i] != prompts[i - 1]] + [len(prompts)]
    spans = [slice(a, b) for a, b in itertools.pairwise(runs)]
    return shared_prompt_batch(
        [np.array(prompts[span.start], np.int64) for span in spans],
        [[np.array(c, np.int64) for c in completions[span]] for span in spans],
        [keep[span] for span in spans],
        {name: [values[span] for span in spans] for name, values in columns.items()},
        temperature,
        banned,
    )


def shared_prompt_batch(
    prompts: Sequence[np.ndarray],
    groups: Sequence[Sequence[np.ndarray]],
    keep: Sequence[Sequence[np.ndarray]] | None = None,
    columns: Mapping[str, Sequence[Sequence[np.ndarray]]] | None = None,
    temperature: float = 1.0,
    banned: tuple[int, ...] = (),
) -> Batch:
    """A batch in which each token of each completion is asked for, and each prompt stands once for its group.

    Args:
        prompts: P arrays of at least 1 token id.
        groups: for each prompt, its completions: arrays of at least 1 token id; the last token of each is only a label.
        keep: bool [n] for each completion, False where that token is no label.
        columns: name -> float [n] for each completion.
        temperature, banned: the policy's, see Batch.

    Returns:
        Labels in the order of the completions; `unit` counts the completions.

    Raises:
        ValueError: an empty prompt or completion.
    """
    if any(not len(p) for p in prompts) or any(not len(c) for group in groups for c in group):
        raise ValueError("each prompt and each completion needs at least 1 token")
    rows: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    at: list[np.ndarray] = []
    prefix: list[int] = []
    place = 0
    for prompt, group in zip(prompts, groups, strict=True):
        head, last = len(rows), place + len(prompt) - 1
        rows.append(prompt)
        positions.append(np.arange(len(prompt)))
        prefix.append(-1)
        place += len(prompt)
        for completion in group:
            size = len(completion) - 1
            at.append(np.concatenate([[last], place + np.arange(size)]))
            if size:  # a completion of one token asks only the prompt's last state
                rows.append(completion[:-1])
                positions.append(len(prompt) + np.arange(size))
                prefix.append(head)
            place += size
    every = [completion for group in groups for completion in group]
    unit = np.repeat(np.arange(len(every)), [len(c) for c in every])
    kept = (
        np.ones(len(unit), bool) if keep is None else np.concatenate([k for group in keep for k in group]).astype(bool)
    )
    return Batch(
        np.concatenate(rows).astype(np.int64),
        np.concatenate(positions),
        np.array([len(r) for r in rows], np.int64),
        np.concatenate(every).astype(np.int64)[kept],
        np.concatenate(at).astype(np.int64)[kept],
        unit[kept],
        {
            name: np.concatenate([x for group in values for x in group]).astype(np.float32)[kept]
            for name, values in (columns or {}).items()
        },
        temperature,
        banned,
        np.array(prefix, np.int64),
    )


def pair_batch(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    start: int,
    keep: Sequence[np.ndarray] | None = None,
    columns: Mapping[str, Sequence[np.ndarray]] | None = None,
    temperature: float = 1.0,
    banned: tuple[int, ...] = (),
) -> Batch:
    """A batch for a sequence-to-sequence model, in which each token of each target is asked for given its source.

    Args:
        sources, targets: S arrays of at least 1 token id each.
        start: the token that a decoder begins with.
        keep: bool [n] for each target, False where that token is no label.
        columns: name -> float [n] for each target.
        temperature, banned: the policy's, see Batch.
    """
    heads = [len(source) + 1 for source in sources]
    flat = next_token_batch(
        [np.concatenate([s, [start], t]) for s, t in zip(sources, targets, strict=True)],
        [
            np.concatenate([np.zeros(n, bool), np.ones(len(t), bool) if keep is None else keep[i]])
            for i, (n, t) in enumerate(zip(heads, targets, strict=True))
        ],
        {
            name: [np.concatenate([np.zeros(n, np.float32), v]) for n, v in zip(heads, values, strict=True)]
            for name, values in (columns or {}).items()
        },
        temperature,
        banned,
    )
    sizes = np.array([[len(s), len(t)] for s, t in zip(sources, targets, strict=True)]).reshape(-1)
    role = np.repeat(np.tile(np.array([0, 1], np.uint8), len(sources)), sizes)
    positions = np.concatenate([np.arange(n) for n in sizes])
    return dataclasses.replace(flat, role=role, positions=positions)


def masked_batch(
    sequences: Sequence[np.ndarray],
    hidden: Sequence[np.ndarray],
    mask: int,
    shown: Sequence[np.ndarray] | None = None,
    banned: tuple[int, ...] = (),
    columns: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> Batch:
    """A batch for a masked model, in which hidden tokens are asked for where they stood.

    Args:
        sequences: S arrays of at least 1 token id.
        hidden: bool [n] for each sequence, True where that token is asked for.
        mask: the token that stands for what is hidden.
        shown: what the model sees instead of sequences with `mask` (BERT leaves or swaps some).
        banned: tokens that cannot be the answer.
        columns: name -> for each sequence float [n], aligned with its tokens.
    """
    lengths = np.array([len(s) for s in sequences], np.int64)
    flat, chosen = np.concatenate(sequences).astype(np.int64), np.concatenate(hidden).astype(bool)
    seen = np.where(chosen, mask, flat) if shown is None else np.concatenate(shown).astype(np.int64)
    at = np.flatnonzero(chosen)
    unit = np.repeat(np.arange(len(sequences)), lengths)[at]
    positions = np.concatenate([np.arange(n) for n in lengths])
    known = {k: np.concatenate(v)[at].astype(np.float32) for k, v in (columns or {}).items()}
    return Batch(seen, positions, lengths, flat[at], at, unit, known, 1.0, banned)
