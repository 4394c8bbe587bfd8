"""Rewards in processes: the same verdicts whatever their number, and what hangs or dies costs only its own."""

import functools
import time
from pathlib import Path

import numpy as np
import pytest

from penchant.batches.scoring import score
from penchant.contracts import Context, Judgement
from penchant.errors import InputError
from penchant.plugins import plug
from penchant.records import Completion, Prompt
from penchant.rewards._pool import Limited, Pool, limited

SLOW = str(Path(__file__).with_name("slow_reward.py"))


def rows(texts):
    prompts = [Prompt((1,), "p", "s") for _ in texts]
    none = np.zeros(0, np.float32)
    return prompts, [Completion((), none, np.zeros(0, bool), text, "end") for text in texts]


def judged(texts):
    return [Judgement({}, text, len(text)) for text in texts]


@pytest.fixture
def pools():
    made = []

    def make(workers, timeout=None, **options):
        made.append(Pool({"name": SLOW, **options}, 0, workers, timeout))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def test_verdicts_do_not_depend_on_workers(pools):
    texts = ["a" * (i % 7) for i in range(40)] + ["none", "raise", "bb"]
    prompts, completions = rows(texts)
    results = []
    for workers in (1, 2):
        found = score({"slow": (pools(workers, scale=2.0), 1.0)}, prompts, completions, judged(texts), "sum")
        results.append(found)
    np.testing.assert_array_equal(results[0].reward, results[1].reward)
    np.testing.assert_array_equal(results[0].reward[:40], [2.0 * (i % 7) for i in range(40)])
    assert np.isnan(results[0].reward[40:42]).all() and results[0].reward[42] == 4.0
    assert results[0].failed == {"slow": 1} and "a bad one" in results[0].errors["slow"]


def test_what_hangs_is_ended_and_what_dies_is_made_anew(pools):
    pool = pools(2, 3.0)
    texts = ["a", "hang", "bb", "die", "ccc", "d"]
    prompts, completions = rows(texts)
    begin = time.monotonic()
    found = pool(prompts, completions, judgements=judged(texts))
    assert time.monotonic() - begin < 30
    assert [found[i] for i in (0, 2, 4, 5)] == [1.0, 2.0, 3.0, 1.0]
    assert isinstance(found[1], TimeoutError) and "its process died" in str(found[3])
    scored = score({"slow": (pool, 1.0)}, prompts, completions, judged(texts), "sum")
    assert scored.failed == {"slow": 2} and np.isnan(scored.reward[[1, 3]]).all()
    assert scored.timed_out == {"slow": 1}
    assert pool(*rows(["abcd"])) == [4.0]  # and it goes on


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_are_masked_whatever_the_workers(pools, workers):
    """One that hangs takes no other with it, and to start a process and to build the reward is nobody's time."""
    texts = ["a", "hang", "bb", "ccc", "hang", "d", "raise", "eeee"]
    prompts, completions = rows(texts)
    pool = pools(workers, 1.0, build_seconds=2.0)
    found = score({"slow": (pool, 1.0)}, prompts, completions, judged(texts), "sum")
    np.testing.assert_array_equal(found.reward, [1, np.nan, 2, 3, np.nan, 1, np.nan, 4])
    assert found.failed == {"slow": 3} and found.timed_out == {"slow": 2}


def test_a_judgement_that_fails_ahead_costs_its_own_completion(pools):
    prompts, completions = rows(["a", "bb"])
    pool = pools(1)

    def broken():
        raise KeyError("no answer")

    pool.ahead(prompts[0], completions[0], broken)
    found = score({"slow": (pool, 1.0)}, prompts, completions, judged(["a", "bb"]), "sum")
    np.testing.assert_array_equal(found.reward, [np.nan, 2.0])
    assert found.failed == {"slow": 1} and "no answer" in found.errors["slow"]


def test_a_limit_by_default():
    assert isinstance(limited({"name": SLOW}, Context(), lambda: len), Limited)
    assert limited({"name": SLOW, "timeout": None}, Context(), lambda: len) is len


def test_what_was_begun_ahead_is_taken(pools):
    """Each verdict is the same, and is not asked for twice."""
    texts = ["a", "bb", "raise", "cccc", "none"]
    prompts, completions = rows(texts)
    pool = pools(2)
    asked = []
    for i in (3, 0, 2):
        pool.ahead(prompts[i], completions[i], lambda i=i: asked.append(i) or judged(texts)[i])
    found = pool(prompts, completions, judgements=judged(texts))
    assert found[:2] == [1.0, 2.0] and found[3:] == [4.0, None] and "a bad one" in str(found[2])
    assert sorted(asked) == [0, 2, 3]
    assert pool(prompts, completions, judgements=judged(texts))[3] == 4.0  # and is forgotten afterwards


def test_a_limit_in_this_process():
    def reward(prompts, completions, **columns):
        time.sleep(5 if completions[0].text == "hang" else 0)
        return [1.0] * len(completions)

    late = Limited(reward, 0.05)(*rows(["hang", "b"]))
    assert [type(v) for v in late] == [TimeoutError] * 2
    assert Limited(reward, 5.0)(*rows(["a", "b"])) == [1.0, 1.0]

    def broken(prompts, completions, **columns):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Limited(broken, 5.0)(*rows(["a"]))


def test_a_reward_that_wants_to_end_the_program_has_failed_and_does_not_hang():
    def leaving(prompts, completions, **columns):
        raise SystemExit("enough")

    with pytest.raises(RuntimeError, match="SystemExit: enough"):
        Limited(leaving, 5.0)(*rows(["a"]))


def test_entries_that_make_no_sense():
    for entry, words in (
        ({"workers": -1}, "whole number"),
        ({"timeout": 0}, "above 0"),
        ({"workers": 2, "call": len}, "file"),
    ):
        with pytest.raises(InputError, match=words):
            limited({"name": SLOW, **entry}, Context(), lambda: None)
    with pytest.raises(InputError, match="scales"):
        limited(
            {"name": SLOW, "workers": 1, "scales": 2},
            Context(),
            lambda: plug("rewards", {"name": SLOW, "scales": 2}, Context()),
        )
    whole = functools.partial(len)
    whole.whole_batch = True
    with pytest.raises(InputError, match="whole batch"):
        limited({"name": "x", "workers": 1}, Context(), lambda: whole)
