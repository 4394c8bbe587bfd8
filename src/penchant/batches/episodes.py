"""How a policy is sampled in a text environment: turn by turn, all episodes at once, each from its own stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penchant.environments.text import Dialogue, TextEnvironment
from penchant.models.decoder import Decoder
from penchant.records import Completion, Prompt
from penchant.runtime.random import stream
from penchant.sampling.engine import Prefix, generate
from penchant.text.template import Template
from penchant.text.tokenizer import Tokenizer

__all__ = ["Episodes"]


@dataclass(frozen=True)
class Episodes:
    """Stands where `batches.rollouts.Sampling` does; of one turn, it draws what that draws.

    Attributes:
        max_new_tokens: of an episode, what it observes included.
    """

    dialogue: Dialogue
    template: Template
    max_new_tokens: int
    temperature: float
    end: tuple[int, ...]
    ban: tuple[int, ...]

    def complete(
        self, model: Any, tokenizer: Tokenizer, prompts: Sequence[Prompt], seed: int, first: int
    ) -> list[Completion]:
        """An episode of each prompt. What a conversation begins with is run once, where the model can keep it."""
        env = TextEnvironment(self.dialogue, self.template, limit=self.max_new_tokens, end=self.end)
        states, turn = env.reset(prompts), 0
        keeps = isinstance(model, Decoder) and self.dialogue.turns > 1
        kept: list[Prefix | None] = [None] * len(prompts)
        while live := [i for i, state in enumerate(states) if not state.done]:
            room = [env.room(i) for i in live]
            found = generate(
                model,
                [states[i].ids for i in live],
                max_new_tokens=max(room),
                most=room,
                end=self.end,
                temperature=self.temperature,
                ban=self.ban,
                seed=seed,
                first=first,
                seeds=[_seed(seed, first + i, turn) for i in live] if turn else None,
                prefixes=[kept[i] for i in live] if keeps and turn else None,
                keep=keeps,
            )
            actions: list[Sequence[int]] = [()] * len(prompts)
            logprobs: list[Sequence[float]] = [()] * len(prompts)
            for i, sampled in zip(live, found, strict=True):
                actions[i], logprobs[i], kept[i] = sampled.ids, sampled.logprobs.tolist(), sampled.prefix
            states = env.step(actions, logprobs).states
            turn += 1
        return env.completions()


def _seed(seed: int, episode: int, turn: int) -> int:
    """Of a later turn; it depends on nothing but these."""
    return int(stream(seed, f"turn {turn}", episode).integers(2**31))
