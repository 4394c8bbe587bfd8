"""Gymnasium's environments, several at once, so that a run can go on in the middle of an episode.

An episode is a seed and the actions so far: played again, it stands where it stood, whatever the environment keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant.errors import InputError

__all__ = ["Gym", "Step", "spaces"]

PREFIX = "gymnasium:"


def _make(spec: str, options: Mapping[str, Any]) -> Any:
    import gymnasium

    if not spec.startswith(PREFIX):
        raise InputError(f"environment {spec!r} is none of Gymnasium's", "write gymnasium:NAME, e.g. CartPole-v1")
    try:
        return gymnasium.make(spec.removeprefix(PREFIX), **options)
    except (gymnasium.error.Error, TypeError) as error:
        problem = " ".join(str(error).split())[:160]
        raise InputError(f"environment {spec!r} cannot be made ({problem})", "check its name and options") from error


def spaces(spec: str, options: Mapping[str, Any]) -> tuple[int, bool, int]:
    """Size of an observation (of its features, or how many there are), whether they are numbered, and actions.

    Raises:
        InputError: no such environment, or its observations are neither a vector nor numbered, or its actions are not.
    """
    import gymnasium

    env = _make(spec, options)
    seen, acts = env.observation_space, env.action_space
    env.close()
    if not isinstance(acts, gymnasium.spaces.Discrete):
        raise InputError(f"{spec} has actions of kind {type(acts).__name__}", "take one with numbered actions")
    if isinstance(seen, gymnasium.spaces.Discrete):
        return int(seen.n), True, int(acts.n)
    if isinstance(seen, gymnasium.spaces.Box) and len(seen.shape) == 1:
        return int(seen.shape[0]), False, int(acts.n)
    raise InputError(f"{spec} has observations of kind {type(seen).__name__}", "take one with vectors or numbers")


@dataclass(frozen=True, eq=False)
class Step:
    """What came of one action in each of N environments.

    Attributes:
        observations: [N, D] float32 or [N] int64, where the next action is taken: of a new episode after an end.
        final: the same, but of the episode that ended where one did.
        rewards: float32 [N].
        terminated, truncated: bool [N]; after a truncation the future is still worth something.
        returns: the sum of rewards of each episode that ended.
    """

    observations: np.ndarray
    final: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    returns: tuple[float, ...]


class Gym:
    """N copies of an environment that act in step; each episode has a seed of its own.

    Args:
        spec: `gymnasium:NAME`.
        options: what the environment is made with.
        seed: of the first episodes; others follow.
    """

    def __init__(self, spec: str, count: int, seed: int, options: Mapping[str, Any] | None = None):
        self.envs = [_make(spec, options or {}) for _ in range(count)]
        self.seed = seed
        self.episodes = [0] * count
        self.actions: list[list[int]] = [[] for _ in range(count)]
        self.sums = [0.0] * count
        self.seen = [self._reset(i) for i in range(count)]

    def _reset(self, i: int) -> Any:
        # Gymnasium takes seeds below 2^31; consecutive ones are far apart in its generators
        number = (self.seed * 1_000_003 + i * 100_003 + self.episodes[i] * 7) % (2**31)
        return self.envs[i].reset(seed=number)[0]

    def observations(self) -> np.ndarray:
        """Where each environment stands."""
        return _stacked(self.seen)

    def step(self, actions: Sequence[int]) -> Step:
        """Act in each; those whose episode ends begin a new one."""
        final, rewards, ends, returns = [], [], [], []
        for i, action in enumerate(actions):
            seen, reward, terminated, truncated, _ = self.envs[i].step(int(action))
            self.actions[i].append(int(action))
            self.sums[i] += float(reward)
            final.append(seen)
            rewards.append(float(reward))
            ends.append((bool(terminated), bool(truncated) and not terminated))
            if terminated or truncated:
                returns.append(self.sums[i])
                self.sums[i], self.actions[i] = 0.0, []
                self.episodes[i] += 1
                seen = self._reset(i)
            self.seen[i] = seen
        terminated, truncated = (np.array(column) for column in zip(*ends, strict=True))
        return Step(
            _stacked(self.seen), _stacked(final), np.array(rewards, np.float32), terminated, truncated, tuple(returns)
        )

    def state_dict(self) -> dict[str, Any]:
        """Every episode's number and actions so far."""
        return {"episodes": list(self.episodes), "actions": [list(a) for a in self.actions]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Play the episodes again up to where they stood."""
        self.episodes = [int(n) for n in state["episodes"]]
        self.actions = [[int(a) for a in actions] for actions in state["actions"]]
        for i, actions in enumerate(self.actions):
            self.seen[i], self.sums[i] = self._reset(i), 0.0
            for action in actions:
                self.seen[i], reward, *_ = self.envs[i].step(action)
                self.sums[i] += float(reward)


def _stacked(seen: Sequence[Any]) -> np.ndarray:
    rows = [np.asarray(one) for one in seen]
    numbered = rows[0].ndim == 0
    return np.stack(rows).astype(np.int64 if numbered else np.float32)
