"""Rewards: combined, masked where there is no verdict or the reward raises, refused where that is too often."""

import math

import numpy as np
import pytest

from penchant.batches.scoring import combine, refuse_failures, score
from penchant.errors import DataRejected, InputError


def scored(reward, count=4, how="sum", **more):
    named = {"odd": (reward, 1.0), **{name: (other, 1.0) for name, other in more.items()}}
    items = list(range(count))
    return score(named, items, items, items, how)


def test_parts_combine_as_product_or_sum_and_no_verdict_masks():
    parts = np.array([[0.5, 1.0, np.nan], [0.5, 0.25, 1.0]])
    np.testing.assert_allclose(combine(parts, np.array([1.0, 1.0]), "product"), [0.25, 0.25, np.nan])
    np.testing.assert_allclose(combine(parts, np.array([1.0, 2.0]), "sum"), [1.5, 1.5, np.nan])


def test_a_reward_that_gives_another_number_of_values_is_refused():
    with pytest.raises(InputError, match="odd gave 1 values for 4"):
        scored(lambda p, c, **k: [1.0])


def test_a_negative_reward_in_a_product_is_refused():
    with pytest.raises(InputError, match="combine=sum"):
        scored(lambda p, c, **k: [-1.0] * len(c), how="product")


def test_a_reward_that_raises_is_masked_for_those_completions_alone():
    def fails_at_two(prompts, completions, **columns):
        assert prompts == completions == columns["judgements"]
        return [1.0 / (2 - c) for c in completions]

    found = scored(fails_at_two, fine=lambda p, c, **k: [1.0] * len(c))
    np.testing.assert_array_equal(found.parts["odd"], [0.5, 1.0, np.nan, -1.0])
    np.testing.assert_array_equal(found.reward, [1.5, 2.0, np.nan, 0.0])
    assert found.failed == {"odd": 1, "fine": 0}
    assert found.errors == {"odd": "ZeroDivisionError: float division by zero"}


def test_a_reward_over_the_whole_batch_is_not_asked_again():
    asked = []

    def fails(prompts, completions, **columns):
        asked.append(len(completions))
        raise RuntimeError("no\nluck")

    fails.whole_batch = True
    found = scored(fails)
    assert asked == [4]
    assert found.failed == {"odd": 4}
    assert found.errors == {"odd": "RuntimeError: no luck"}


def test_what_is_no_finite_number_is_a_failure_and_none_is_not():
    found = scored(lambda p, c, **k: [None, "x", math.inf, np.float32(2)])
    np.testing.assert_array_equal(found.reward, [np.nan, np.nan, np.nan, 2.0])
    assert found.failed == {"odd": 2}
    assert found.errors == {"odd": "ValueError: it gave 'x'"}


def test_errors_of_ours_pass():
    def wrong(prompts, completions, **columns):
        raise InputError("no such file", "give it")

    with pytest.raises(InputError, match="no such file"):
        scored(wrong)


def test_too_many_failures_are_refused_with_the_rewards_name():
    found = scored(lambda p, c, **k: [1 / x for x in c])
    refuse_failures(found, 0.25)
    with pytest.raises(DataRejected, match=r"reward odd failed for 1 of 4 .*division by zero.*max_reward_failures"):
        refuse_failures(found, 0.2)
