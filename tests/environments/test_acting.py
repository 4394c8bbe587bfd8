"""Acting in Gymnasium's environments: the table's update, optima, exploration, resume."""

import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penchant import registry
from penchant.contracts import Context, StageContext
from penchant.environments.gym import Gym, spaces
from penchant.errors import InputError, OptionError, Stopped
from penchant.models.load import load_model
from penchant.models.mlp import Mlp, PolicyConfig
from penchant.records import Batch
from penchant.runs.recipe import load_recipe
from penchant.runs.single import single_recipe
from penchant.sampling.explore import boltzmann, chosen, epsilon_greedy, schedule
from penchant.stages.tune import Options, run
from penchant.training.gradient import gradient_step
from penchant.training.optimizer import Optimizer, OptimizerOptions

sys.path.insert(0, str(Path(__file__).parents[1] / "algorithms"))
import toy


def act(folder, algorithm, environment, seed=0, stop=lambda: 0, **changes):
    folder.mkdir(exist_ok=True)
    options = Options(algorithm=algorithm, environment=f"gymnasium:{environment}", **changes)
    return run(options, StageContext("acted", folder, {}, seed, 1, stop, lambda text: None))


VALUES = st.lists(st.floats(-50, 50), min_size=2, max_size=6)


@given(VALUES, st.floats(0, 1))
def test_epsilon_greedy(values, epsilon):
    (odds,) = epsilon_greedy(np.array([values]), epsilon)
    assert odds.sum() == pytest.approx(1)
    best = int(np.argmax(values))
    assert odds[best] == pytest.approx(1 - epsilon + epsilon / len(values))
    assert np.delete(odds, best) == pytest.approx(epsilon / len(values))


@given(VALUES, st.floats(0.05, 20))
def test_boltzmann(values, tau):
    (odds,) = boltzmann(np.array([values]), tau)
    assert odds.sum() == pytest.approx(1)
    for i in range(1, len(values)):
        if odds[i] > 1e-200 and odds[0] > 1e-200:
            assert np.log(odds[i] / odds[0]) == pytest.approx((values[i] - values[0]) / tau, rel=1e-6, abs=1e-6)


def test_actions_are_drawn_as_likely_as_they_are():
    odds = np.tile([0.1, 0.0, 0.6, 0.3], (40_000, 1))
    found = np.bincount(chosen(odds, np.random.default_rng(0).random(len(odds))), minlength=4) / len(odds)
    assert found == pytest.approx([0.1, 0.0, 0.6, 0.3], abs=0.01)
    assert chosen(np.array([[0.3, 0.7]]), np.array([np.nextafter(1, 0)]))[0] == 1
    assert [schedule(step, 100, 1.0, 0.1, 0.5) for step in (0, 25, 50, 99)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_one_update_is_watkins_rule():
    rng = np.random.default_rng(0)
    model = Mlp(PolicyConfig(6, True, 3, ())).initialise(0)
    table = rng.normal(size=(6, 3)).astype(np.float32)
    with torch.no_grad():
        model.out.weight.copy_(torch.from_numpy(table.T))
    module = registry.load("objectives", "q_learning")
    objective = module.build(module.Options(error="squared", reduction="sum"), Context())
    rate = 0.1
    optimizer = Optimizer(
        model, OptimizerOptions(name="sgd", learning_rate=rate, momentum=0, weight_decay=0, schedule="constant",
                                warmup=0, max_grad_norm=0), 100)  # fmt: skip
    one = np.ones(1, np.int64)
    for step in range(50):
        state, action = int(rng.integers(6)), int(rng.integers(3))
        target = np.float32(rng.normal() + 0.9 * table[int(rng.integers(6))].max())
        batch = Batch(state * one, 0 * one, one, action * one, 0 * one, 0 * one, {"target": np.array([target])})
        gradient_step(model, objective, [batch])
        optimizer.step(step, optimizer.gradients())
        table[state, action] -= np.float32(rate) * (table[state, action] - target)
        np.testing.assert_allclose(model.out.weight.detach().numpy().T, table, rtol=2e-7, atol=1e-8)  # to rounding


def optimum(name, gamma, **options):
    """Values of the best policy, and of any other, by the environment's own chances."""
    env = gymnasium.make(name, **options).unwrapped
    count, actions = env.observation_space.n, env.action_space.n

    def backup(values):
        return np.array(
            [
                [sum(p * (r + gamma * (not done) * values[n]) for p, n, r, done in env.P[s][a]) for a in range(actions)]
                for s in range(count)
            ]
        )

    best = np.zeros(count)
    for _ in range(2000):
        best, before = backup(best).max(1), best
        if np.abs(best - before).max() < 1e-10:
            break

    def worth(policy):
        values = np.zeros(count)
        for _ in range(2000):
            values, before = backup(values)[np.arange(count), policy], values
            if np.abs(values - before).max() < 1e-10:
                break
        return values

    starts = env.initial_state_distrib
    return float(best @ starts), lambda policy: float(worth(policy) @ starts)


DRY = {"is_slippery": False}
LAKE = {"steps": 12_000, "eval_steps": 12_000, "save_steps": 12_000, "environment_options": {"num_envs": 8}}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("FrozenLake-v1", {"steps": 4_000, "environment_options": {"num_envs": 8, "options": DRY}}),
        pytest.param("FrozenLake-v1", {}, marks=pytest.mark.slow),
        pytest.param("Taxi-v4", {"steps": 40_000}, marks=pytest.mark.slow),
    ],
)
def test_a_table_reaches_what_value_iteration_finds(tmp_path, name, changes):
    settings = {**LAKE, **changes}
    options = settings["environment_options"].get("options", {})
    act(tmp_path / "run", "q_learning", name, **settings)
    policy = load_model(tmp_path / "run" / "model")
    count = spaces(f"gymnasium:{name}", options)[0]
    best, worth = optimum(name, 0.99, **options)
    found = worth(policy.outputs(np.arange(count)).argmax(-1).numpy())
    assert found >= best - 0.02 * abs(best)


def test_an_episode_goes_on_from_its_seed_and_actions():
    first = Gym("gymnasium:CartPole-v1", 3, 5)
    rng = np.random.default_rng(0)
    for _ in range(60):
        first.step(rng.integers(0, 2, 3).tolist())
    again = Gym("gymnasium:CartPole-v1", 3, 5)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(80):
        actions = rng.integers(0, 2, 3).tolist()
        one, other = first.step(actions), again.step(actions)
        for column in ("observations", "final", "rewards", "terminated", "truncated"):
            assert (getattr(one, column) == getattr(other, column)).all()
        assert one.returns == other.returns


def test_a_truncation_is_no_termination():
    gym = Gym("gymnasium:CartPole-v1", 1, 0, {"max_episode_steps": 5})
    steps = [gym.step([i % 2]) for i in range(5)]
    assert [bool(s.truncated[0]) for s in steps] == [False] * 4 + [True]
    assert not steps[-1].terminated[0]
    assert steps[-1].returns == (5.0,)
    assert not (steps[-1].final == steps[-1].observations).all()  # where it ended, and where the next one begins


SHORT = {
    "q_learning": ("FrozenLake-v1", {"steps": 300}),
    "dqn": ("CartPole-v1", {"steps": 300, "algorithm_options": {"learning_starts": 64, "train_frequency": 8,
                                                               "gradient_steps": 4, "dueling": True}}),
    "ppo": ("CartPole-v1", {"steps": 50, "num_mini_batches": 2}),
    "a2c": ("CartPole-v1", {"steps": 20}),
    "reinforce": ("CartPole-v1", {"steps": 20}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_a_stopped_run_goes_on_with_the_same_bits(tmp_path, name):
    environment, changes = SHORT[name]
    settings = {"eval_steps": 1000, "save_steps": 10, **changes}
    act(tmp_path / "whole", name, environment, **settings)
    steps, at = iter(range(1, 1000)), settings["steps"] // 2 + 3
    with pytest.raises(Stopped):
        act(tmp_path / "cut", name, environment, stop=lambda: 15 if next(steps) == at else 0, **settings)
    act(tmp_path / "cut", name, environment, **settings)
    assert toy.rows(tmp_path / "cut") == toy.rows(tmp_path / "whole")
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "cut" / "model" / file).read_bytes() == (tmp_path / "whole" / "model" / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_cartpole_is_solved_within_100_000_steps(tmp_path, name):
    """A mean return of 475 over 20 greedy episodes; settings as RL Baselines3 Zoo has them."""
    settings = {
        "dqn": {"steps": 49_000, "environment_options": {"num_envs": 1, "hidden": (256, 256)}},
        "ppo": {"steps": 7_800},
    }[name]
    every = {"eval_steps": 2_600, "save_steps": 100_000, "keep": "best"}
    found = act(tmp_path / name, name, "CartPole-v1", seed=0, **every, **settings)
    assert found["environment_steps"] <= 100_100
    rows = toy.rows(tmp_path / name)
    assert max(row.get("eval_return", 0) for row in rows) >= 475


@pytest.mark.parametrize("name", ["a2c", "ppo"])
def test_critics_learn_to_balance(tmp_path, name):
    steps = {"a2c": 400, "ppo": 1200}[name]
    act(tmp_path / name, name, "CartPole-v1", steps=steps, eval_steps=steps, save_steps=steps)
    rows = toy.rows(tmp_path / name)
    first = next(row["episode_return"] for row in rows if "episode_return" in row)
    assert rows[-1]["eval_return"] > 3 * first


def test_what_cannot_be_acted_in_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be made"):
        spaces("gymnasium:NoSuch-v0", {})
    with pytest.raises(InputError, match="write gymnasium:NAME"):
        spaces("CartPole-v1", {})
    with pytest.raises(InputError, match="numbered actions"):
        spaces("gymnasium:Pendulum-v1", {})
    with pytest.raises(InputError, match="does not act in environments"):
        act(tmp_path / "run", "grpo", "CartPole-v1")
    recipe = single_recipe("tune", {}, alone=True)
    load_recipe(recipe, ["tune.algorithm=dqn", "tune.environment=gymnasium:CartPole-v1"], environment={})
    with pytest.raises(OptionError, match="has no input 'data'"):
        load_recipe(recipe, ["tune.algorithm=dqn"], environment={})
