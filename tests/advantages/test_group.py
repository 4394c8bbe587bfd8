"""Group advantages: against a derivation, and at the edges."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.advantages.group import group_advantages


def test_against_a_derivation():
    rewards = np.array([[1.0, 0.0, 0.5], [2.0, 2.0, 2.0]])
    found = group_advantages(rewards, floor=0.1)
    std = np.sqrt(((1 - 0.5) ** 2 + 0.5**2) / 3)
    np.testing.assert_allclose(found[0], [0.5 / (std + 0.1), -0.5 / (std + 0.1), 0.0], atol=1e-6)
    assert (found[1] == 0).all()


def test_a_reward_without_a_verdict_is_masked():
    found = group_advantages(np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, np.nan]]))
    assert found[0, 1] == 0
    assert found[0, 0] == -found[0, 2] > 0
    assert (found[1] == 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.floats(0.01, 1))
def test_they_sum_to_zero_and_keep_the_order(rewards, floor):
    found = group_advantages(np.array([rewards]), floor)[0]
    assert np.isfinite(found).all()
    assert abs(found.sum()) < 1e-3
    order = np.argsort(rewards, kind="stable")
    assert (np.diff(found[order]) >= -1e-6).all()
