"""Q-learning as a source: act, remember, and hand over remembered transitions with their targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from penchant.environments.gym import Gym
from penchant.records import Batch
from penchant.runtime.random import stream
from penchant.sampling.explore import boltzmann, chosen, epsilon_greedy, schedule

__all__ = ["Memory", "Replay"]


class Memory:
    """The last transitions, in a ring.

    Args:
        size: how many are kept.
        shape: of an observation; () where it is a number.
    """

    def __init__(self, size: int, shape: tuple[int, ...]):
        kind = np.float32 if shape else np.int64
        self.columns = {
            "before": np.zeros((size, *shape), kind),
            "after": np.zeros((size, *shape), kind),
            "actions": np.zeros(size, np.int64),
            "rewards": np.zeros(size, np.float32),
            "terminated": np.zeros(size, np.float32),
        }
        self.size, self.count = size, 0

    def add(self, **columns: np.ndarray) -> None:
        """Some transitions."""
        places = (self.count + np.arange(len(columns["actions"]))) % self.size
        for name, values in columns.items():
            self.columns[name][places] = values
        self.count += len(places)

    def take(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The transitions at some places."""
        return {name: values[places] for name, values in self.columns.items()}

    @property
    def held(self) -> int:
        """How many there are."""
        return min(self.count, self.size)

    def state_dict(self) -> dict[str, Any]:
        """All of them."""
        return {"count": self.count, **{k: torch.from_numpy(v[: self.held].copy()) for k, v in self.columns.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with saved ones."""
        self.count = int(state["count"])
        for name, values in self.columns.items():
            values[: self.held] = state[name].numpy()


class Replay:
    """Acts by exploration between updates, and gives batches whose column `target` is r + gamma max Q(s', a').

    Args:
        target: the network that values what comes next; None: the one that is trained.
        double: the trained network chooses the next action, the target values it (van Hasselt et al. 2016, eq. 4).
        options: of the algorithm (`gamma`, exploration, `learning_starts`, `train_frequency`, `gradient_steps`).
        steps: updates in all, for the exploration's schedule.
    """

    def __init__(
        self,
        model: Any,
        target: Callable[[], Any],
        gym: Gym,
        memory: Memory | None,
        options: Any,
        *,
        batch_size: int,
        steps: int,
        seed: int,
    ):
        self.model, self.target, self.gym, self.memory, self.options = model, target, gym, memory, options
        self.batch_size, self.steps, self.seed = batch_size, steps, seed
        self.acted = 0  # actions so far, in all environments
        self.left = 0  # updates that are owed to what was acted
        self.moves = 0
        self.fresh: dict[str, np.ndarray] = {}

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """One batch of transitions; what the episodes were like that ended meanwhile."""
        returns: list[float] = []
        while self.left <= 0:
            for _ in range(self.options.train_frequency):
                returns += self._act(step)
            if self.memory is None or self.memory.count >= self.options.learning_starts:
                self.left = self.options.gradient_steps
        self.left -= 1
        if self.memory is None:
            found = self.fresh
        else:
            found = self.memory.take(stream(self.seed, "replay", step).integers(0, self.memory.held, self.batch_size))
        stats = {"epsilon": self.epsilon(step), "environment_steps": float(self.acted)}
        if returns:
            stats |= {"episode_return": float(np.mean(returns)), "episodes": float(len(returns))}
        return [self._batch(found)], stats

    def epsilon(self, step: int) -> float:
        """The share of actions that are tried at random."""
        o = self.options
        return schedule(step, self.steps, o.epsilon_start, o.epsilon_end, o.epsilon_fraction)

    def _act(self, step: int) -> tuple[float, ...]:
        before = self.gym.observations()
        values = self.model.outputs(before).cpu().numpy()
        if self.options.exploration == "boltzmann":
            odds = boltzmann(values, self.options.tau)
        else:
            odds = epsilon_greedy(values, self.epsilon(step))
        actions = chosen(odds, stream(self.seed, "explore", self.moves).random(len(odds)))
        self.moves += 1
        came = self.gym.step(actions.tolist())
        self.acted += len(actions)
        self.fresh = {
            "before": before,
            "after": came.final,
            "actions": actions,
            "rewards": came.rewards,
            "terminated": came.terminated.astype(np.float32),
        }
        if self.memory is not None:
            self.memory.add(**self.fresh)
        return came.returns

    def _batch(self, found: Mapping[str, np.ndarray]) -> Batch:
        later = self.target().outputs(found["after"])
        if self.options.double:
            best = self.model.outputs(found["after"]).argmax(-1, keepdim=True)
            worth = later.gather(-1, best).squeeze(-1)
        else:
            worth = later.max(-1).values
        future = (1 - found["terminated"]) * worth.cpu().numpy()
        target = found["rewards"] + self.options.gamma * future
        count = np.arange(len(target))
        return Batch(
            found["before"],
            np.zeros(len(target), np.int64),
            np.ones(len(target), np.int64),
            found["actions"],
            count,
            count,
            {"target": target.astype(np.float32)},
        )

    def state_dict(self) -> dict[str, Any]:
        """Episodes, memory and counts."""
        memory = {} if self.memory is None else {"memory": self.memory.state_dict()}
        counts = {"acted": self.acted, "left": self.left, "moves": self.moves}
        return {"gym": self.gym.state_dict(), **counts, **memory}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in the middle of episodes."""
        self.gym.load_state_dict(state["gym"])
        self.acted, self.left, self.moves = state["acted"], state["left"], state["moves"]
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
