"""The records that walk from floor to floor: frozen, slotted, without behaviour beyond their own shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Batch", "Completion", "Document", "Encoded", "Example", "Prompt", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a document that a signal scores: a line, a sentence or the whole.

    `document_text` and `start` let a signal see the surroundings (a style rule needs the whole file).
    """

    text: str
    start: int
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One text with where it came from, cut into segments, each with a score by signal.

    Attributes:
        source: the file (or file#row) it came from; the cluster of every interval.
        text: the text; segments cover it without gaps.
        ends: the character offset at which each segment ends (the last is `len(text)`).
        scores: signal name -> one float a segment, higher is better.
        columns: the user's own columns, never renamed.
    """

    source: str
    text: str
    ends: tuple[int, ...] = ()
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    def segments(self) -> list[str]:
        """The text of each segment, in order; their concatenation is `text`."""
        starts = (0, *self.ends[:-1])
        return [self.text[a:b] for a, b in zip(starts, self.ends, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A document (or a window of one) as a model is trained on it.

    Attributes:
        ids: int [T], control tokens included.
        control: bool [T], True at control tokens, which are no targets and do not count as content.
        columns: name -> float [T] by token (`weight`: of its loss; or what an objective asks for).
    """

    ids: np.ndarray
    control: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set in TRL's columns.

    Attributes:
        source: the file (and row) it came from; the cluster of every interval.
        columns: `prompt`, `completion`, `chosen`, `rejected` (each a text, or a list of `{"role", "content"}`),
            `label`, `completions`, `labels`, `probability`, `margin`, `weight`; and the user's own, never renamed.
    """

    source: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a policy continues.

    Attributes:
        ids: token ids, control tokens included.
        text: the same as text, control tokens left out.
        source: the file it came from (the cluster of intervals).
        columns: what the task needs to judge a completion (`header`, `indent`, `reference`, ...).
    """

    ids: tuple[int, ...]
    text: str
    source: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy wrote: ids as sampled (never retokenised), and the log-prob of each.

    Attributes:
        ids: token ids, forced (inserted) tokens included; length T.
        logprobs: float32 [T], of the policy's own distribution at its temperature; 0 at forced tokens.
        forced: bool [T], True where the token was inserted and not chosen.
        text: decoded text, special tokens left out; of several turns the last one's.
        stop: "end" (an end token), "stop" (a stop string) or "length" (the limit).
        turns: where in `ids` each turn of the policy begins; between them stands what was observed, forced.
        rewards: float32 [T], what an environment gave for each token (at a turn's last one), or None.
        messages: the conversation, where there was one.
        counts: what an environment counted, by name (calls of tools, those that failed ...).
    """

    ids: tuple[int, ...]
    logprobs: np.ndarray
    forced: np.ndarray
    text: str
    stop: str
    turns: tuple[int, ...] = (0,)
    rewards: np.ndarray | None = None
    messages: tuple[Mapping[str, Any], ...] = ()
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """A flat batch of token sequences: no padding, N labels that point at hidden states.

    Attributes:
        inputs: int64 [T], token ids of all sequences one after the other.
        positions: int64 [T], position of each token in its own sequence.
        lengths: int64 [S], length of each sequence; they sum to T.
        labels: int64 [N], the token each label asks for.
        at: int64 [N], index into [T] of the hidden state that answers label n.
        unit: int64 [N], the sequence or completion that label n belongs to.
        columns: float32 [N] by label (`advantages`, `rollout_logprobs`, `reference_logprobs`, `weight`, ...).
        temperature: what logits are divided by before the softmax (part of the policy).
        banned: token ids that the policy cannot choose (left out of its softmax).
        prefix: int64 [S], the sequence that each one continues (a prompt shared by its group), -1 for none; empty
            where no sequence has one.
        products: a linear layer's number -> what it gave for the T tokens when the policy was sampled, where that was
            kept and holds for the model as it is (`models/replay`); None elsewhere.
        role: uint8 [T], 0 where a token is of its sequence's source and 1 where it is of its target, which follows the
            source; empty where sequences have no such parts (all but sequence-to-sequence models).
    """

    inputs: np.ndarray
    positions: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    at: np.ndarray
    unit: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    temperature: float = 1.0
    banned: tuple[int, ...] = ()
    prefix: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    role: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    products: Callable[[int], Any] | None = None
