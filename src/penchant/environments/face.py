"""A text environment as one of Gymnasium's: one episode, tokens in and tokens out (Towers et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from penchant.environments.text import TextEnvironment
from penchant.records import Prompt

__all__ = ["TextGym"]


class TextGym(gymnasium.Env[np.ndarray, Any]):
    """Episodes of prompts, one after the other, the order drawn from the seed.

    Observations are the ids of all that was written so far, filled up with `pad`; `info["length"]` says how many there
    are. An action is a token id where the environment's granularity is `token`, else a tuple of token ids.

    Args:
        places: ids of an observation: of the longest prompt, and the environment's limit.
        vocabulary: token ids are below it.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, env: TextEnvironment, prompts: Sequence[Prompt], vocabulary: int, pad: int):
        self.env, self.prompts, self.pad = env, list(prompts), pad
        self.places = max(len(p.ids) for p in prompts) + env.limit
        one: gymnasium.Space[Any] = gymnasium.spaces.Discrete(vocabulary)
        self.action_space = one if env.granularity == "token" else _Texts(one, env.limit)
        self.observation_space = gymnasium.spaces.Box(0, vocabulary - 1, (self.places,), np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; `options={"prompt": N}` chooses the prompt."""
        super().reset(seed=seed)
        number = (options or {}).get("prompt")
        chosen = int(self.np_random.integers(len(self.prompts))) if number is None else int(number)
        state = self.env.reset([self.prompts[chosen]])[0]
        return self._seen(state.ids), {"length": len(state.ids), "prompt": chosen}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Write a token, or several."""
        tokens = [int(action)] if self.env.granularity == "token" else [int(i) for i in action]
        outcome = self.env.step([tokens])
        ids, info = outcome.states[0].ids, {**outcome.infos[0], "length": len(outcome.states[0].ids)}
        ended = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        return self._seen(ids), float(outcome.rewards[0]), *ended, info

    def _seen(self, ids: Sequence[int]) -> np.ndarray:
        found = np.full(self.places, self.pad, np.int64)
        found[: len(ids)] = ids
        return found


class _Texts(gymnasium.spaces.Sequence):
    """Tuples of at least one token and at most so many."""

    def __init__(self, space: gymnasium.Space[Any], most: int):
        super().__init__(space)
        self.most = most

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Any, ...]:
        """A random one, at most half as long as may be: one that fills an episode ends it."""
        length = int(self.np_random.integers(1, max(2, self.most // 2)))
        return tuple(self.feature_space.sample() for _ in range(length))

    def contains(self, x: Any) -> bool:
        """Whether it is one."""
        return bool(len(x)) and len(x) <= self.most and super().contains(tuple(x))
