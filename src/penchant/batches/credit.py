"""From completions with rewards to batches: which tokens earn credit, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from penchant.batches.spread import cut
from penchant.data.pack import completion_batch
from penchant.models.replay import Tape
from penchant.records import Batch, Completion, Prompt
from penchant.text.offsets import stretches
from penchant.text.tokenizer import Tokenizer

__all__ = ["Credited", "earned", "pack"]


@dataclass(frozen=True)
class Credited:
    """A rollout whose completions stand in groups of the same prompt, each group's in a row.

    Attributes:
        prompts, completions: one each.
        earns: bool [tokens] by completion, see `earned`.
        samples: completions of a group.
        columns: name -> float32 [tokens] by completion (`advantages`, or `rewards`).
        left_out: bool [completions], those that no verdict was given on.
    """

    prompts: Sequence[Prompt]
    completions: Sequence[Completion]
    earns: Sequence[np.ndarray]
    samples: int
    columns: dict[str, list[np.ndarray]]
    left_out: np.ndarray


def earned(completion: Completion, characters: int, tokenizer: Tokenizer) -> np.ndarray:
    """bool [tokens]: chosen, and begun before the judged part's end; with the token that ended it, a choice too."""
    chosen = ~completion.forced
    if characters >= len(completion.text):
        return chosen
    inside = stretches(completion.ids, completion.text, (characters,), tokenizer) == 0
    earns = chosen & inside
    ending = np.flatnonzero(chosen & ~inside)[:1]
    earns[ending] = True
    return earns


def pack(
    rollout: Credited,
    micro: int,
    lanes: int,
    *,
    shared: bool,
    start: int | None = None,
    temperature: float,
    banned: tuple[int, ...],
    whole_groups: bool = False,
    pairs: bool = False,
    tape: Tape | None = None,
) -> list[Batch]:
    """Micro-batches whose labels are the tokens that earn credit; `unit` counts a batch's completions.

    Args:
        micro: completions of a batch at most.
        lanes: batches that are worked on at once.
        shared, start: see `data/pack.completion_batch`.
        pairs: each group has two completions that are not left out, a better one (advantage 1) and a worse one (-1).
        tape: what sampling kept of these completions, by their numbers; batches get `products`.
        whole_groups: never cut through a group; columns get `group`, its number, by label.
    """
    prompts, completions, earns = rollout.prompts, rollout.completions, rollout.earns
    chosen = [i for i, mask in enumerate(earns) if mask.any() and not rollout.left_out[i]]
    if pairs:  # an answer without a token to learn from takes its partner with it
        count = np.bincount([i // rollout.samples for i in chosen], minlength=len(earns) // rollout.samples)
        chosen = [i for i in chosen if count[i // rollout.samples] == 2]
    length = [len(p.ids) + len(c.ids) for p, c in zip(prompts, completions, strict=True)]
    advantages = rollout.columns.get("advantages", [])

    def order(i: int) -> float:
        """Within a group: the better one of a pair first, else the shorter first."""
        return -float(advantages[i][0]) if pairs else length[i]

    longest = [max(length[g : g + rollout.samples]) for g in range(0, len(length), rollout.samples)]
    # a group stays together, since its prompt is computed once; groups of like length together
    chosen.sort(key=lambda i: (longest[i // rollout.samples], i // rollout.samples, order(i), i))
    columns = {**rollout.columns, "rollout_logprobs": [c.logprobs for c in completions]}
    if whole_groups or pairs:
        columns["group"] = [np.full(len(c.ids), i // rollout.samples) for i, c in enumerate(completions)]
        groups = [
            [i for i in chosen if i // rollout.samples == g]
            for g in dict.fromkeys(i // rollout.samples for i in chosen)
        ]
        parts = [
            [i for group in part for i in group]
            for part in cut(groups, max(1, micro // (2 if pairs else rollout.samples)), lanes)
        ]
    else:
        parts = cut(chosen, micro, lanes)

    def batch(part: Sequence[int]) -> Batch:
        heads, keep = [prompts[i].ids for i in part], [earns[i] for i in part]
        made = completion_batch(
            heads,
            [completions[i].ids for i in part],
            keep,
            {name: [np.asarray(values[i], np.float32) for i in part] for name, values in columns.items()},
            shared=shared,
            start=start,
            temperature=temperature,
            banned=banned,
        )
        if tape is None:
            return made
        # Where each token stands on the tape, laid out as the tokens are; a completion's last one is no input.
        places = [tuple(tape.prompts[ids]) for ids in heads], [(*tape.texts[i], -1) for i in part]
        return replace(made, products=tape.at(completion_batch(*places, keep, {}, shared=shared).inputs))

    return [batch(part) for part in parts]
