"""A text MDP that can be enumerated: what an estimator's gradient is in expectation, over all that could be sampled.

Texts of at most DEPTH tokens out of VOCABULARY, ended early by END; random rewards; a policy with a free logit for each
token in each state. Everything is float64. An estimator is the real code: advantages (or credit) and an objective.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from penchant.contracts import Algorithm
from penchant.data.pack import next_token_batch
from penchant.records import Batch

__all__ = ["DEPTH", "END", "PROMPT", "TEXTS", "VOCABULARY", "Policy", "expected_gradient", "groups_of"]

VOCABULARY, DEPTH, END = 4, 3, 0
PROMPT = VOCABULARY  # stands before each text, and is never written


def _texts() -> list[tuple[int, ...]]:
    return [
        ids
        for length in range(1, DEPTH + 1)
        for ids in itertools.product(range(VOCABULARY), repeat=length)
        if END not in ids[:-1] and (ids[-1] == END or length == DEPTH)
    ]


TEXTS = _texts()
STATES = {prefix: i for i, prefix in enumerate(dict.fromkeys(ids[:n] for ids in TEXTS for n in range(len(ids))))}


class Policy:
    """softmax of a table of logits [states, tokens]."""

    def __init__(self, seed: int = 0, scale: float = 0.7):
        rng = np.random.default_rng(seed)
        self.logits = torch.tensor(rng.normal(size=(len(STATES), VOCABULARY)) * scale, requires_grad=True)
        self.known: dict[tuple[int, ...], np.ndarray] = {}  # its log-probs as numbers
        self.rewards = dict(zip(TEXTS, rng.uniform(-1, 1, len(TEXTS)), strict=True))

    def logprobs(self, text: tuple[int, ...]) -> torch.Tensor:
        """Of each token [T]."""
        table = self.logits.log_softmax(-1)
        return torch.stack([table[STATES[text[:n]], token] for n, token in enumerate(text)])

    def probability(self, text: tuple[int, ...]) -> float:
        return float(self.logprobs(text).sum().exp().detach())

    def value(self, prefix: tuple[int, ...]) -> float:
        """E[reward] of what begins so."""
        own = {t: self.probability(t) for t in TEXTS if t[: len(prefix)] == prefix}
        return sum(p * self.rewards[t] for t, p in own.items()) / sum(own.values())

    def expectation(self, of: Callable[[tuple[int, ...]], Any]) -> torch.Tensor:
        """E[of(text)] with gradient, `of` being a constant."""
        return sum((self.logprobs(t).sum().exp() * of(t) for t in TEXTS), torch.zeros(()))

    def gradient(self, value: torch.Tensor) -> np.ndarray:
        """Of a number, by the logits."""
        (found,) = torch.autograd.grad(value, self.logits, retain_graph=True)
        return found.numpy()

    def exact(self) -> np.ndarray:
        """The gradient of E[reward]."""
        return self.gradient(self.expectation(lambda t: self.rewards[t]))


def groups_of(policy: Policy, size: int) -> Iterator[tuple[tuple[tuple[int, ...], ...], float]]:
    """Every group of so many texts, and how likely it is."""
    chance = {t: policy.probability(t) for t in TEXTS}
    for group in itertools.product(TEXTS, repeat=size):
        yield group, float(np.prod([chance[t] for t in group]))


def expected_gradient(
    policy: Policy,
    algorithm: Algorithm,
    size: int,
    values: Callable[[tuple[int, ...]], float] | None = None,
    reference: Policy | None = None,
    sampler: Policy | None = None,
) -> tuple[np.ndarray, float]:
    """The expected gradient of the loss of one group of `size` samples, and the trace of its covariance.

    Args:
        values: what a value head says of a state, for algorithms that are credited by one.
        sampler: what samples come from, where that is not the policy.
    """
    sampler = sampler or policy
    known = {t: policy.logprobs(t) for t in TEXTS}
    jacobian = {t: np.stack([policy.gradient(x) for x in _each(known[t])]) for t in TEXTS}  # [T, states, tokens]
    mean = np.zeros(policy.logits.shape)
    square = 0.0
    for group, chance in groups_of(sampler, size):
        if chance == 0:
            continue
        batch = _batch(policy, algorithm, group, values, reference, sampler)
        logp = torch.cat([known[t].detach() for t in group]).requires_grad_()
        given = {"logprobs": logp, "entropy": torch.zeros_like(logp)}
        if values is not None:
            given["values"] = torch.tensor(batch.columns["old_values"].astype(float))
        totals = algorithm.objective.totals([batch])
        terms = algorithm.objective.loss(given, batch)
        loss = sum(terms[name].sum / totals[name] for name in terms)
        (by_label,) = torch.autograd.grad(loss, logp, allow_unused=True)
        found = np.tensordot(by_label.numpy(), np.concatenate([jacobian[t] for t in group]), 1)
        mean += chance * found
        square += chance * float((found**2).sum())
    return mean, square - float((mean**2).sum())


def _each(values: torch.Tensor) -> list[torch.Tensor]:
    return list(values)


def _batch(
    policy: Policy,
    algorithm: Algorithm,
    group: tuple[tuple[int, ...], ...],
    values: Callable[[tuple[int, ...]], float] | None,
    reference: Policy | None,
    sampler: Policy,
) -> Batch:
    """A rollout of one group as `batches/credit.py` packs it."""
    rewards = np.array([[policy.rewards[t] for t in group]])
    columns: dict[str, list[np.ndarray]] = {"rollout_logprobs": [_numbers(sampler, t) for t in group]}
    columns["group"] = [np.zeros(len(t)) for t in group]
    if reference is not None:
        columns["reference_logprobs"] = [_numbers(reference, t) for t in group]
    if algorithm.advantages is not None:
        advantages = algorithm.advantages(rewards)[0]
        columns["advantages"] = [np.full(len(t), a) for t, a in zip(group, np.nan_to_num(advantages), strict=True)]
    else:
        assert values is not None
        columns["rewards"] = [np.append(np.zeros(len(t) - 1), policy.rewards[t]) for t in group]
        columns["old_values"] = [np.array([values(t[:n]) for n in range(len(t))]) for t in group]
    batch = next_token_batch(
        [np.array([PROMPT, *t]) for t in group],
        None,
        {name: [np.concatenate([[0.0], v]) for v in column] for name, column in columns.items()},
    )
    return algorithm.credit([batch])[0] if algorithm.credit is not None else batch


def _numbers(policy: Policy, text: tuple[int, ...]) -> np.ndarray:
    if text not in policy.known:
        policy.known[text] = policy.logprobs(text).detach().numpy()
    return policy.known[text]
