"""Scored texts as rows for offline learning: which tokens are actions, and what each of them earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant.batches.rows import Item
from penchant.errors import InputError
from penchant.text.template import Template

__all__ = ["Piece", "scored_item", "scored_items"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a scored text.

    Attributes:
        ids: its token ids.
        acts: whether the policy wrote it; else it is what the policy was told (a prompt, an answer), no action.
        reward: what it earned, given at its last token; or one number a token.
    """

    ids: Sequence[int]
    acts: bool = True
    reward: float | Sequence[float] = 0.0


def scored_item(pieces: Sequence[Piece]) -> Item:
    """A text as one row with a column `rewards`; its labels are the actions.

    Raises:
        ValueError: it does not begin with what the policy was told (an action needs a state), a reward stands where
            there is no action, or there are not as many rewards as tokens.
    """
    if not pieces or pieces[0].acts or not len(pieces[0].ids):
        raise ValueError("a scored text begins with at least one token that the policy did not write")
    while len(pieces) > 2 and not pieces[-1].acts:  # nobody acts on it any more
        pieces = pieces[:-1]
    rest = pieces[1:]
    earned = [_earned(piece) for piece in rest]
    keep = [np.full(len(piece.ids), piece.acts) for piece in rest]
    return Item(
        tuple(map(int, pieces[0].ids)),
        (tuple(int(i) for piece in rest for i in piece.ids),),
        {"rewards": (np.concatenate([*earned, np.zeros(0, np.float32)]),)},
        (np.concatenate([*keep, np.zeros(0, bool)]),),
    )


def _earned(piece: Piece) -> np.ndarray:
    """float32 [tokens]."""
    found = np.zeros(len(piece.ids), np.float32)
    if not isinstance(piece.reward, int | float):
        if len(piece.reward) != len(piece.ids):
            raise ValueError(f"{len(piece.reward)} rewards for {len(piece.ids)} tokens")
        found[:] = piece.reward
    elif len(found):
        found[-1] = piece.reward
    elif piece.reward:
        raise ValueError("a reward for an empty text")
    if not piece.acts and found.any():
        raise ValueError("a reward for what the policy did not write")
    return found


def scored_items(template: Template, columns: Mapping[str, Any]) -> list[Item]:
    """The rows of an example: `prompt` with `completion` and `score`, or with `completions` and a `scores` each.

    A completion's score is given at its last token. Instead, `rewards` holds one number a token (its end token too), or
    one for each turn of the assistant where the completion is a conversation; others' turns are no actions.

    Raises:
        InputError: numbers that do not belong to anything, or the template's (see `Template.pair_ids`).
    """
    prompt = columns["prompt"]
    if "completion" not in columns:
        answers, scores = columns["completions"], columns["scores"]
        if len(answers) != len(scores):
            raise InputError(f"{len(answers)} completions and {len(scores)} scores", "give each a score")
        both = zip(answers, scores, strict=True)
        return [scored_items(template, {"prompt": prompt, "completion": a, "score": s})[0] for a, s in both]
    completion, rewards = columns["completion"], columns.get("rewards")
    try:
        if not isinstance(completion, str) and len(completion) > 1:
            return [scored_item(_turns(template, prompt, completion, rewards, columns["score"]))]
        before, after = template.pair_ids(prompt, completion)
        return [
            scored_item([Piece(before, False), Piece(after, True, columns["score"] if rewards is None else rewards)])
        ]
    except ValueError as error:
        raise InputError(str(error), "mend the row's prompt or rewards") from error


def _turns(
    template: Template, prompt: Any, messages: Sequence[Mapping[str, str]], rewards: Any, score: float
) -> list[Piece]:
    """A conversation's pieces: the assistant's turns, and all that stands between them."""
    pieces: list[Piece] = []
    so_far: list[int] = []
    mine = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    earned = [0.0] * (len(mine) - 1) + [score] if rewards is None else list(rewards)
    if len(earned) != len(mine):
        raise ValueError(f"{len(earned)} rewards for {len(mine)} turns of the assistant")
    for at, reward in zip(mine, earned, strict=True):
        before, after = template.pair_ids([*prompt, *messages[:at]], messages[at : at + 1])
        if before[: len(so_far)] != so_far:
            raise ValueError("the chat template writes earlier turns otherwise when more follow")
        pieces += [Piece(before[len(so_far) :], False), Piece(after, True, reward)]
        so_far = [*before, *after]
    return pieces
