"""Answers judged: right or wrong, by rewards and by metrics."""

import pytest

from penchant.errors import InputError
from penchant.plugins import build_context
from penchant.records import Prompt


def judge(text, columns, **options):
    task = build_context(0, None, {"name": "answer", **options}).task
    found = task.judge(Prompt((1,), "q", "s", columns), text, "end")
    assert set(found.measures) == set(task.measures)
    return found.measures


def test_right_wrong_or_no_verdict():
    assert judge(" Paris. ", {"answer": "paris"})["reward"] == (1.0, 1.0)
    assert judge("Rome", {"answer": "paris"})["reward"] == (0.0, 1.0)
    assert judge("Rome", {})["reward"] == (0.0, 0.0)
    assert judge("Rome", {"capital": "Rome"}, column="capital")["reward"] == (1.0, 1.0)


def test_rewards_together_and_metrics_beside():
    columns = {"answer": ["the red house", "red home"]}
    two = [{"name": "token_f1", "weight": 2.0}, {"name": "format", "pattern": "red"}]
    found = judge(
        "a red house", columns, rewards=two, metrics=["exact_match", {"name": "metric:rouge", "kind": "rouge1"}]
    )
    assert found["reward"] == (3.0, 1.0)  # articles aside it is the first reference, and it has the word
    assert found["exact_match"] == (1.0, 1.0)
    assert found["metric.rouge"] == (pytest.approx(2 / 3), 1.0)
    product = judge("a red", columns, rewards=two, combine="product")
    assert product["reward"] == (pytest.approx((2 / 3) ** 2), 1.0)
    assert judge("green", columns, rewards=two, combine="product")["reward"] == (0.0, 1.0)


def test_a_reward_without_a_verdict_gives_none():
    found = judge("no number", {"answer": "7"}, rewards=["numeric"], metrics=["numeric"])
    assert found["reward"] == found["numeric"]
    assert found["reward"] in ((0.0, 0.0), (0.0, 1.0))


def test_what_looks_at_a_batch_is_refused():
    with pytest.raises(InputError, match="whole batch"):
        build_context(0, None, {"name": "answer", "metrics": ["diversity"]})
    with pytest.raises(InputError, match="no reward named 'rogue'"):
        build_context(0, None, {"name": "answer", "rewards": ["rogue"]})
