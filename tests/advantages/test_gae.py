"""Credit over time and against baselines: loops written out again, and properties at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.advantages.best import best_of_group
from penchant.advantages.gae import gae, whitened
from penchant.advantages.leave_one_out import leave_one_out
from penchant.advantages.moving_average import MovingAverage
from penchant.algorithms._critic import explained

NUMBERS = st.floats(-100, 100, width=32)


def by_sums(rewards, values, ends, gamma, lam, cut):
    """Schulman et al. 2016, eq. 16 as it stands: A_t = sum over l of (gamma lam)^l d_{t+l}, sequence by sequence."""
    found, start = [], 0
    for end in np.flatnonzero(ends):
        r, v = rewards[start : end + 1], [*values[start : end + 1], values[end] if cut[end] else 0.0]
        deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
        found += [sum((gamma * lam) ** k * deltas[t + k] for k in range(len(r) - t)) for t in range(len(r))]
        start = end + 1
    return np.array(found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans(), st.booleans()), min_size=1, max_size=14),
       st.floats(0.1, 1), st.floats(0, 1))  # fmt: skip
def test_gae_is_its_sum(steps, gamma, lam):
    rewards, values = (np.array([s[i] for s in steps], np.float32) for i in (0, 1))
    ends, cut = (np.array([s[i] for s in steps]) for i in (2, 3))
    ends[-1] = True
    advantages, returns = gae(rewards, values, ends, gamma, lam, cut & ends)
    np.testing.assert_allclose(advantages, by_sums(rewards, values, ends, gamma, lam, cut), rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(returns, advantages + values, rtol=1e-4, atol=2e-3)


def test_without_trust_in_values_advantages_are_returns_less_values():
    rewards, values = np.array([0, 0, 1, 2], np.float32), np.array([9, 8, 7, 6], np.float32)
    advantages, returns = gae(rewards, values, np.array([False, False, True, True]), 1.0, 1.0)
    np.testing.assert_allclose(returns, [1, 1, 1, 2])
    np.testing.assert_allclose(advantages, [-8, -7, -6, -4])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_whitened_has_mean_0_and_deviation_1_together(parts):
    found = whitened([np.array(p, np.float32) for p in parts])
    every, before = np.concatenate(found), np.concatenate([np.array(p, np.float32) for p in parts])
    assert [len(x) for x in found] == [len(p) for p in parts]
    if len(before) > 1 and before.std() > 1e-3:
        assert abs(every.mean()) < 1e-3
        assert every.std() == pytest.approx(1, abs=1e-3)
    elif len(before) < 2:
        np.testing.assert_array_equal(every, before)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(NUMBERS, st.just(float("nan"))), min_size=1, max_size=8))
def test_leave_one_out_is_a_reward_less_the_mean_of_the_others(rewards):
    found = leave_one_out(np.array([rewards]))[0]
    for i, r in enumerate(rewards):
        others = [x for j, x in enumerate(rewards) if j != i and not np.isnan(x)]
        wanted = r - np.mean(others) if others and not np.isnan(r) else 0.0
        assert found[i] == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert abs(found.sum()) < 1e-2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(NUMBERS, st.just(float("nan"))), min_size=1, max_size=8), st.integers(1, 4),
       st.one_of(st.none(), NUMBERS))  # fmt: skip
def test_the_best_are_kept(rewards, keep, least):
    found = best_of_group(np.array([rewards]), keep, least)[0]
    allowed = [i for i, r in enumerate(rewards) if not np.isnan(r) and (least is None or r >= least)]
    wanted = sorted(allowed, key=lambda i: (-rewards[i], i))[:keep]
    assert sorted(np.flatnonzero(found == 1.0)) == sorted(wanted)
    assert np.isnan(found).sum() == len(rewards) - len(wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=6), st.floats(0.1, 0.95))
def test_a_moving_average_knows_earlier_steps_alone(steps, decay):
    baseline, means = MovingAverage(decay), []
    for rewards in steps:
        weights = [decay ** (len(means) - 1 - k) for k in range(len(means))]
        wanted = float(np.average(means, weights=weights)) if means else 0.0
        found = baseline(np.array([rewards]))
        np.testing.assert_allclose(found[0], np.array(rewards) - wanted, rtol=1e-3, atol=1e-2)
        means.append(float(np.mean(rewards)))


def test_explained_variance_against_numpy():
    rng = np.random.default_rng(0)
    returns, values = rng.normal(size=50), rng.normal(size=50)
    values += 0.8 * returns
    metrics = {"returns": returns.mean(), "returns_squared": (returns**2).mean(), "values": values.mean(),
               "value_error": ((values - returns) ** 2).mean()}  # fmt: skip
    assert explained(metrics)["explained_variance"] == pytest.approx(1 - np.var(returns - values) / np.var(returns))
    assert explained({**metrics, "returns_squared": returns.mean() ** 2}) == {}
    assert explained({}) == {}
