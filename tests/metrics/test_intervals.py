import math

import numpy as np
import pytest

from penchant.metrics.intervals import (
    draws,
    paired_difference,
    paired_ratio_difference,
    ratio_interval,
)

ONE_EACH = [str(i) for i in range(200)]


def test_draws_sum_to_the_clusters_and_are_seeded():
    drawn = draws(7, 50, seed=3)
    assert drawn.shape == (50, 7)
    assert (drawn.sum(1) == 7).all()
    assert (drawn == draws(7, 50, seed=3)).all()
    assert (drawn != draws(7, 50, seed=4)).any()


def test_with_one_item_a_cluster_the_interval_of_a_mean_is_the_closed_form():
    values = np.random.default_rng(0).normal(5, 2, 200)
    found = ratio_interval(values, np.ones(200), ONE_EACH, resamples=20_000)
    half = 1.96 * values.std() / math.sqrt(200)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03 * half)
    assert (found.n, found.files) == (200, 200)


def _clustered(random, clusters=40, items=8):
    """Items that share their cluster's effect; the true mean is 0."""
    effect = random.normal(size=clusters).repeat(items)
    return effect + random.normal(size=clusters * items), [str(i // items) for i in range(clusters * items)]


def test_coverage_by_clusters_and_not_by_items():
    random = np.random.default_rng(1)
    by_cluster = by_item = 0
    for trial in range(300):
        values, clusters = _clustered(random)
        ones, items = np.ones(len(values)), [str(i) for i in range(len(values))]
        right = ratio_interval(values, ones, clusters, resamples=300, seed=trial)
        wrong = ratio_interval(values, ones, items, resamples=300, seed=trial)
        by_cluster += right.low <= 0 <= right.high
        by_item += wrong.low <= 0 <= wrong.high
    assert 0.90 <= by_cluster / 300 <= 0.98
    assert by_item / 300 < 0.75


def test_a_ratio_is_of_sums():
    found = ratio_interval([1, 0, 5], [1, 0, 4], ["a", "b", "b"])
    assert found.value == pytest.approx(6 / 5)


def test_transform():
    found = ratio_interval([1.0, 2.0], [1, 1], ["a", "b"], transform=np.exp)
    assert found.value == pytest.approx(math.exp(1.5))
    assert (found.low, found.high) == pytest.approx((math.e, math.exp(2)))


@pytest.mark.parametrize(
    ("num", "den", "clusters", "value"),
    [([], [], [], None), ([0], [0], ["a"], None), ([3, 1], [2, 2], ["a", "a"], 1.0)],
)
def test_no_interval_from_fewer_than_two_clusters(num, den, clusters, value):
    found = ratio_interval(num, den, clusters)
    assert (found.value, found.low, found.high) == (value, None, None)


def test_resamples_without_a_denominator_are_left_out():
    found = ratio_interval([1, 0], [2, 0], ["a", "b"])
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_pairs_see_what_unpaired_intervals_cannot():
    random = np.random.default_rng(3)
    values, clusters = _clustered(random)
    ones = np.ones(len(values))
    better = values + 0.3 + 0.1 * random.normal(size=len(values))
    found = paired_ratio_difference((values, ones, clusters), (better, ones, clusters))
    assert found.difference == pytest.approx(0.3, abs=0.02)
    assert 0.25 < found.low < found.difference < found.high < 0.35
    assert found.p == pytest.approx(2 / 1001)
    back = paired_ratio_difference((better, ones, clusters), (values, ones, clusters))
    assert (back.difference, back.low, back.high) == pytest.approx((-found.difference, -found.high, -found.low))


def test_p_is_uniform_without_a_difference():
    random = np.random.default_rng(4)
    ps = []
    for trial in range(200):
        values, clusters = _clustered(random, 40, 3)
        other = values + random.normal(size=len(values))
        ones = np.ones(len(values))
        ps.append(
            paired_ratio_difference((values, ones, clusters), (other, ones, clusters), resamples=300, seed=trial).p
        )
    assert np.mean(np.array(ps) < 0.05) < 0.12
    assert np.mean(ps) == pytest.approx(0.5, abs=0.08)


def test_equal_rows_differ_by_nothing():
    side = ([1, 2, 3], [1, 1, 1], ["a", "b", "c"])
    found = paired_ratio_difference(side, side)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_no_test_from_one_cluster_or_from_nothing():
    side = ([1], [1], ["a"])
    assert paired_ratio_difference(side, ([2], [1], ["a"])).p is None
    assert paired_difference(float("nan"), np.zeros(3)).difference is None
