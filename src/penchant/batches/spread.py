"""A step over threads and processes: rows cut into micro-batches, rollouts sampled in parts and known to all."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from penchant.batches.scoring import Scored
from penchant.models.quantities import quantities
from penchant.records import Batch, Completion, Prompt
from penchant.runtime.mesh import Mesh

__all__ = ["cost", "cut", "sampled", "scored_by_first", "with_column"]

T = TypeVar("T")


def cost(batch: Batch) -> float:
    """What a micro-batch costs: its tokens."""
    return float(len(batch.inputs))


def cut(rows: Sequence[T], most: int, lanes: int = 1) -> list[list[T]]:
    """Rows in order, in groups of like size.

    Args:
        most: rows of a group at most.
        lanes: groups that are worked on at once; there are at least as many, where there are rows, and a multiple.
    """
    count = -(-len(rows) // most)
    count = min(len(rows), -(-count // lanes) * lanes)
    edges = [len(rows) * n // count for n in range(count + 1)] if count else [0]
    return [list(rows[a:b]) for a, b in itertools.pairwise(edges)]


def sampled(
    mesh: Mesh, prompts: Sequence[Prompt], group: int, sample: Callable[[Sequence[Prompt], int], list[Completion]]
) -> list[Completion]:
    """One completion a prompt, each process sampling its own groups; all get all of them.

    Args:
        group: prompts that stay together.
        sample: (prompts, number of the first) -> completions; numbers say from which stream each draws, so that the
            text is the same whatever process samples it.
    """
    ranks, count = mesh.place.ranks, len(prompts) // group
    edges = [count * n // ranks * group for n in range(ranks)] + [len(prompts)]
    a, b = edges[mesh.place.rank], edges[mesh.place.rank + 1]
    mine = sample(prompts[a:b], a) if b > a else []
    if ranks == 1:
        return mine
    return [_completion(one) for part in mesh.gather([_packed(c) for c in mine]) for one in part]


def scored_by_first(mesh: Mesh, judge: Callable[[], tuple[Scored, list[int]]]) -> tuple[Scored, list[int]]:
    """Rewards and credits, asked for in the first process alone (a reward may be a service, or differ each time)."""
    if mesh.place.ranks == 1:
        return judge()
    told: dict[str, Any] = {}
    if mesh.first:
        scored, credits = judge()
        parts = {name: values.tolist() for name, values in scored.parts.items()}
        told = {"reward": scored.reward.tolist(), "parts": parts, "credits": credits}
        told |= {name: dict(getattr(scored, name)) for name in ("failed", "timed_out", "errors")}
    told = mesh.told(told)
    by_name = {name: np.array(values, np.float64) for name, values in told["parts"].items()}
    return Scored(
        np.array(told["reward"], np.float64), by_name, told["failed"], told["timed_out"], told["errors"]
    ), told["credits"]


def with_column(
    mesh: Mesh, model: Any, name: str, batches: Sequence[Batch], share: bool = False, quantity: str = "logprobs"
) -> list[Batch]:
    """Batches with a further column: a quantity of the labels (see `models/quantities.py`) under a model as it is now.

    Args:
        share: each process computes its share, and all get all; else each computes all that it is given.
    """

    def one(model: Any, batch: Batch) -> np.ndarray:
        with torch.no_grad():
            anew = dataclasses.replace(batch, products=None)  # what sampling kept is the policy's alone
            return quantities(model, anew, (quantity,))[quantity].cpu().numpy()

    costs = [cost(batch) for batch in batches]
    mine = mesh.share(list(range(len(batches))), lambda i: costs[i]) if share else list(range(len(batches)))
    values = dict(zip(mine, mesh.each(model, [batches[i] for i in mine], one, cost), strict=True))
    if share and mesh.place.ranks > 1:
        for part in mesh.gather([(i, found.tobytes().hex()) for i, found in values.items()]):
            values |= {i: np.frombuffer(bytes.fromhex(text), np.float32).copy() for i, text in part}
    return [_column(batch, name, values[i]) for i, batch in enumerate(batches)]


def _column(batch: Batch, name: str, values: np.ndarray) -> Batch:
    columns: Mapping[str, np.ndarray] = {**batch.columns, name: values}
    return dataclasses.replace(batch, columns=columns)


def _packed(completion: Completion) -> dict[str, Any]:
    return {
        "ids": list(map(int, completion.ids)),
        "logprobs": np.asarray(completion.logprobs, np.float32).tobytes().hex(),
        "forced": np.flatnonzero(completion.forced).tolist(),
        "text": completion.text,
        "stop": completion.stop,
        "turns": list(completion.turns),
        "rewards": None if completion.rewards is None else [float(x) for x in completion.rewards],
        "messages": [dict(message) for message in completion.messages],
        "counts": dict(completion.counts),
    }


def _completion(packed: Mapping[str, Any]) -> Completion:
    forced = np.zeros(len(packed["ids"]), bool)
    forced[packed["forced"]] = True
    logprobs = np.frombuffer(bytes.fromhex(packed["logprobs"]), np.float32).copy()
    rewards = None if packed["rewards"] is None else np.array(packed["rewards"], np.float32)
    more = tuple(packed["turns"]), rewards, tuple(packed["messages"]), packed["counts"]
    return Completion(tuple(packed["ids"]), logprobs, forced, packed["text"], packed["stop"], *more)
