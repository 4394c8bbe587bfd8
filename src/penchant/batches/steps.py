"""Actor-critic in an environment as a source: act for a while, credit each step, hand over minibatches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from penchant.advantages.gae import gae, whitened
from penchant.batches.reuse import Reuse
from penchant.environments.gym import Gym
from penchant.models.heads import head_output
from penchant.records import Batch
from penchant.runtime.random import stream
from penchant.sampling.explore import boltzmann, chosen

__all__ = ["Steps"]

PARTS = 4  # micro-batches of a minibatch: passes cut a rollout anew between them


class Steps:
    """Rollouts of `horizon` steps in each environment, each credited by a value head.

    After a truncation and at a rollout's end the value of where it stands is added; after a termination nothing is.

    Args:
        credit: with `gamma`, `lam` and `whiten`.
    """

    def __init__(self, model: Any, gym: Gym, credit: Any, horizon: int, iterations: int, minibatches: int, seed: int):
        self.model, self.gym, self.credit, self.horizon, self.seed = model, gym, credit, horizon, seed
        self.reuse = Reuse(iterations, minibatches, seed)
        self.moves, self.sampled_tokens = 0, 0

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """The micro-batches of one update; what the episodes were like, where the rollout is new."""
        if self.reuse.left:
            return self.reuse.next(), {}
        batches, stats = self._rollout()
        self.reuse.begin(batches)
        return self.reuse.next(), stats

    def _rollout(self) -> tuple[list[Batch], dict[str, float]]:
        rows: dict[str, list[np.ndarray]] = {
            name: [] for name in ("seen", "actions", "logprobs", "values", "rewards", "ends")
        }
        returns: list[float] = []
        for _ in range(self.horizon):
            seen = self.gym.observations()
            logits, values = self._judged(seen)
            odds = boltzmann(logits, 1.0)
            actions = chosen(odds, stream(self.seed, "act", self.moves).random(len(odds)))
            self.moves += 1
            came = self.gym.step(actions.tolist())
            rewards = came.rewards.copy()
            if came.truncated.any():
                rewards += self.credit.gamma * came.truncated * self._judged(came.final)[1]
            returns += came.returns
            logprobs = np.log(odds[np.arange(len(actions)), actions]).astype(np.float32)
            found = (seen, actions, logprobs, values, rewards, came.terminated | came.truncated)
            for name, column in zip(rows, found, strict=True):
                rows[name].append(column)
        self.sampled_tokens += self.horizon * len(self.gym.envs)
        stats = {"environment_steps": float(self.sampled_tokens)}
        if returns:
            stats |= {"episode_return": float(np.mean(returns)), "episodes": float(len(returns))}
        return self._batches({name: np.stack(columns) for name, columns in rows.items()}), stats

    def _judged(self, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [N, actions] and values [N]."""
        with torch.no_grad():
            states = self.model(torch.as_tensor(seen))
            logits = torch.nn.functional.linear(states, self.model.head, self.model.head_bias)
            return logits.numpy(), head_output(self.model, "value", states).numpy()

    def _batches(self, rows: Mapping[str, np.ndarray]) -> list[Batch]:
        """Columns [horizon, N] as micro-batches of random steps."""
        rewards, ends = rows["rewards"].copy(), rows["ends"].copy()
        open_ended = ~ends[-1]
        rewards[-1] += self.credit.gamma * open_ended * self._judged(self.gym.observations())[1]
        ends[-1] = True

        def flat(column: np.ndarray) -> np.ndarray:
            """Environment by environment."""
            return column.swapaxes(0, 1).reshape(-1, *column.shape[2:])

        advantages, returns = gae(flat(rewards), flat(rows["values"]), flat(ends), self.credit.gamma, self.credit.lam)
        if self.credit.whiten:
            (advantages,) = whitened([advantages])
        columns = {
            "advantages": advantages,
            "returns": returns,
            "old_logprobs": flat(rows["logprobs"]),
            "rollout_logprobs": flat(rows["logprobs"]),
            "old_values": flat(rows["values"]).astype(np.float32),
        }
        count = len(returns)
        order = stream(self.seed, "steps", self.moves).permutation(count)
        parts = np.array_split(order, min(count, self.reuse.minibatches * (PARTS if self.reuse.minibatches > 1 else 1)))
        seen, actions = flat(rows["seen"]), flat(rows["actions"])
        return [_batch(seen[part], actions[part], {k: v[part] for k, v in columns.items()}) for part in parts]

    def state_dict(self) -> dict[str, Any]:
        """Episodes, and the rollout that is in use."""
        return {
            "gym": self.gym.state_dict(),
            "moves": self.moves,
            "sampled_tokens": self.sampled_tokens,
            **self.reuse.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in the middle of episodes."""
        self.gym.load_state_dict(state["gym"])
        self.moves, self.sampled_tokens = state["moves"], state["sampled_tokens"]
        self.reuse.load_state_dict(state)


def _batch(seen: np.ndarray, actions: np.ndarray, columns: Mapping[str, np.ndarray]) -> Batch:
    count = np.arange(len(actions))
    ones = np.ones(len(actions), np.int64)
    return Batch(np.ascontiguousarray(seen), 0 * ones, ones, actions.astype(np.int64), count, count, dict(columns))
