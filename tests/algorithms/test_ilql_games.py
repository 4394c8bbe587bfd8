"""ILQL learns what it claims: on a text MDP that can be enumerated, and against cloning on games."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from penchant.algorithms import ilql
from penchant.batches.rows import batch_of
from penchant.batches.scored import Piece, scored_item
from penchant.contracts import Context
from penchant.models.heads import add_heads
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions

VOCABULARY, DEPTH, GAMMA = 4, 3, 0.9


class Table(nn.Module):
    """A model with a state of its own for each text: the heads are tables, and learning has one solution."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.texts = [t for n in range(DEPTH) for t in itertools.product(range(VOCABULARY), repeat=n)]
        self.output = nn.Linear(len(self.texts), VOCABULARY, bias=False)

    @property
    def head(self):
        return self.output.weight

    def forward(self, inputs, positions, lengths):
        """One-hot states [T, texts] of texts of DEPTH inputs each, the first of which is the start."""
        ids = inputs.view(-1, DEPTH)
        numbers = [torch.zeros(len(ids), dtype=torch.int64)]
        for n in range(1, DEPTH):  # texts are numbered by length, then in order
            numbers.append(numbers[-1] * VOCABULARY + 1 + ids[:, n])
        return nn.functional.one_hot(torch.stack(numbers, 1).flatten(), len(self.texts)).float()


class Same:
    """The same batch at each step."""

    def __init__(self, rows):
        self.batches = [batch_of(rows, None)]

    def next(self, step):
        return self.batches, {}

    def state_dict(self):
        return {}


def expectile(x, weights, tau):
    """The root of tau E(x - v)+ = (1 - tau) E(v - x)+, by bisection."""
    low, high = x.min(), x.max()
    for _ in range(100):
        v = (low + high) / 2
        up, down = (weights * np.maximum(x - v, 0)).sum(), (weights * np.maximum(v - x, 0)).sum()
        low, high = (v, high) if tau * up > (1 - tau) * down else (low, v)
    return low


def exact(reward, share, tau):
    """Q and V of each text by backward induction: V the expectile over the data's actions, Q = r + gamma V."""
    q, v = {}, {}
    for n in reversed(range(DEPTH)):
        for text in itertools.product(range(VOCABULARY), repeat=n):
            after = [0.0 if n + 1 == DEPTH else v[(*text, a)] for a in range(VOCABULARY)]
            q[text] = np.array([reward[(*text, a)] for a in range(VOCABULARY)]) + GAMMA * np.array(after)
            v[text] = expectile(q[text], np.array([share[(*text, a)] for a in range(VOCABULARY)]), tau)
    return q, v


def everything(random, reward):
    """Every text, some more often than others; each reward is met as often 1 above as 1 below its mean."""
    rows, counts = [], {}
    for text in itertools.product(range(VOCABULARY), repeat=DEPTH):
        for _ in range(int(random.integers(1, 4))):
            for n in range(1, DEPTH + 1):
                counts[text[:n]] = counts.get(text[:n], 0) + 2
            for noise in (1.0, -1.0):
                earned = [reward[text[:n]] + (noise if n == DEPTH else 0.0) for n in range(1, DEPTH + 1)]
                rows.append(scored_item([Piece([0], acts=False), Piece(text, reward=earned)]))
    return rows, counts


class Keeps:
    """A recorder of nothing."""

    def resume(self):
        return None

    def metrics(self, row):
        self.row = row

    def checkpoint(self, step, state, metrics):
        return None

    def stop(self):
        return 0


@pytest.mark.parametrize("tau", [0.5, 0.9])
def test_action_values_become_those_of_the_expectile_problem(tau):
    """All texts are covered: Q and V end at the fixed point that backward induction finds, and towards the best
    action's as tau grows.
    """
    random = np.random.default_rng(0)
    reward = {t: random.normal() for n in range(1, DEPTH + 1) for t in itertools.product(range(VOCABULARY), repeat=n)}
    rows, counts = everything(random, reward)
    model, steps = Table(), 600
    algorithm = ilql.build(ilql.Options(gamma=GAMMA, tau=tau, alpha=0, clone_weight=0, polyak=0.5), Context())
    add_heads(model, algorithm.heads)
    algorithm.begin(model)
    for head in model.heads.values():
        head.bias.requires_grad_(False)  # a number of its own for each state and action is enough
    plan = TrainingPlan(
        Same(rows), algorithm.objective, steps, after_update=algorithm.after_update, kept=algorithm.kept
    )
    how = OptimizerOptions(name="adamw", learning_rate=0.1, weight_decay=0.0, schedule="linear", max_grad_norm=0)
    train(model, Optimizer(model, how, steps), plan, Keeps())
    q, v = exact(reward, counts, tau)
    for number, text in enumerate(model.texts):
        for head in ("q1", "q2", "target_q1"):
            found = model.heads[head].weight[:, number].detach().numpy()
            np.testing.assert_allclose(found, q[text], atol=2e-3)
        assert model.heads["value"].weight[0, number].item() == pytest.approx(v[text], abs=2e-3)
    best, _ = exact(reward, counts, 1 - 1e-9)
    apart = [np.abs(exact(reward, counts, t)[0][()] - best[()]).max() for t in (0.5, 0.9, 0.99)]
    assert apart[0] > apart[1] > apart[2]


FILE = Path(__file__).parents[2] / "benchmarks" / "ilql.py"
spec = importlib.util.spec_from_file_location("ilql_benchmark", FILE)
games = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = games
spec.loader.exec_module(games)


@pytest.mark.parametrize(
    ("secret", "guess", "answer"),
    [
        ("crane", "crane", "22222"),
        ("apple", "paper", "11210"),
        ("train", "night", "11001"),
        ("table", "eagle", "02022"),  # one e is in place, and there is no other
        ("mouse", "geese", "00022"),
        ("label", "llama", "21100"),  # one a too many
    ],
)
def test_wordle_answers_as_wordle_does(secret, guess, answer):
    assert games.feedback(secret, guess) == answer


def test_the_best_walk_is_the_best_of_any():
    """The optimum by dynamic programming against the mean of walks that follow it, and no better than the shortest."""
    game = games.GraphWalk(nodes=8, degree=2, noise=0.3, turns=6)
    left = [np.zeros(8)]
    for _ in range(6):
        after = left[-1]
        best = [0.7 * max(after[way] for way in ways) + 0.3 * np.mean(after[ways]) for ways in game.ways]
        left.append(np.where(np.arange(8) == 0, 0.0, np.array(best) - 1))
    assert game.best() == pytest.approx(left[6][1:].mean())

    def act(texts, states, turn):
        after = left[5 - turn]
        return [game.alphabet[max(game.ways[s], key=lambda a: after[a])] for s in states]

    walked = np.array([one.value for one in games.play(game, 4000, 3, act)])
    assert walked.mean() == pytest.approx(game.best(), abs=4 * walked.std() / 4000**0.5)


def test_ilql_beats_cloning_on_a_noisy_graph_walk():
    """One seed and few steps; the table of `benchmarks/ilql.py` has more."""
    make, setting = games.GAMES["graph"]
    game = make()
    found = games.compare(game, dataclasses.replace(setting, steps=200, keep=(0.2,), tested=128), seed=0)
    mean = {name: values.mean() for name, values in found.items()}
    error = {name: values.std() / len(values) ** 0.5 for name, values in found.items()}
    for other in ("data", "clone", "clone, greedy", "filtered 0.2"):
        assert mean["ilql"] > mean[other] + 2 * (error[other] + error["ilql"]), mean
    assert mean["ilql"] > game.best() - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(games.GAMES))
def test_ilql_beats_cloning_over_seeds(name):
    """Means of 3 training seeds: ILQL's interval lies above those of cloning, sampled and greedy alike."""
    make, setting = games.GAMES[name]
    found = [games.compare(make(), setting, seed) for seed in range(3)]
    by_method = {method: games.interval([one[method] for one in found]) for method in found[0]}
    for end in ("", ", greedy"):
        for other in ("clone", *(f"filtered {keep}" for keep in setting.keep)):
            assert by_method[f"ilql{end}"][1] > by_method[other + end][2], by_method
    assert by_method["ilql"][1] > by_method["data"][2]
