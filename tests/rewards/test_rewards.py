import numpy as np
import pytest

from penchant.contracts import Context, Judgement
from penchant.records import Completion, Prompt
from penchant.rewards import diversity, length, signal, task

PROMPT = Prompt((), "before\n", "a.py")


def completion(text, ids=(), forced=()):
    return Completion(tuple(ids), np.zeros(len(ids), np.float32), np.array(forced, bool), text, "end")


def scored(reward, *texts, **columns):
    return reward([PROMPT] * len(texts), [completion(t) for t in texts], **columns)


class Task:
    """Rewards the share of letters `a`; no verdict on nothing."""

    def judge(self, prompt, text, stop):
        return Judgement({"reward": (text.count("a"), len(text))}, text, len(text))


def test_task_judges_or_takes_the_judgements_it_is_given():
    reward = task.build(task.Options(), Context(task=Task()))
    assert scored(reward, "ab", "", "aa") == [0.5, None, 1]
    given = [Judgement({"reward": (0.25, 1)}, "", 0)]
    assert scored(reward, "aa", judgements=given) == [0.25]
    with pytest.raises(ValueError, match="needs a task"):
        task.build(task.Options(), Context())


def test_diversity_by_hand():
    reward = diversity.build(diversity.Options(share=0.5), Context())
    # "a b" is in 3 of 4 samples, more than half; "x y" repeats within its sample.
    assert scored(reward, "a b c", "a b d", "a b", "x y x y") == [0.5, 0.5, 0, pytest.approx(2 / 3)]


def test_diversity_of_short_texts_and_small_batches():
    reward = diversity.build(diversity.Options(), Context())
    assert scored(reward, "a b c") == [1]
    assert scored(reward, "", "word", "a b") == [0, 0, 1]
    assert scored(reward, "a b", "a b") == [0, 0]


def test_diversity_allows_one_in_twenty():
    reward = diversity.build(diversity.Options(), Context())
    texts = [f"w{i} v{i}" for i in range(40)]
    texts[1] = texts[0]
    assert scored(reward, *texts)[0] == 1
    texts[2] = texts[0]
    assert scored(reward, *texts)[0] == 0


def test_diversity_looks_at_the_judged_part():
    reward = diversity.build(diversity.Options(), Context())
    given = [Judgement({}, "a b", 3), Judgement({}, "c d", 3)]
    assert scored(reward, "a b", "a b", judgements=given) == [1, 1]


def lengths(segments):
    return [float(len(segment.text.strip())) for segment in segments]


@pytest.mark.parametrize(("unit", "expected"), [("line", [2, None]), ("document", [6, None])])
def test_signal_is_the_mean_over_segments(unit, expected):
    context = Context(build=lambda kind, name, options: lengths)
    reward = signal.build(signal.Options(signal="lengths", segments=unit), context)
    assert scored(reward, "a\n\nbbb\n", " \n") == expected


def test_signal_may_see_the_prompt():
    seen = []

    def record(segments):
        seen.append([(s.text, s.start) for s in segments])
        return [float(i) for i in range(len(segments))]

    context = Context(build=lambda kind, name, options: record)
    reward = signal.build(signal.Options(signal="record", with_prompt=True), context)
    assert scored(reward, "a\nb\n") == [1.5]
    assert seen == [[("before\n", 0), ("a\n", 7), ("b\n", 9)]]
    with pytest.raises(ValueError, match="builds signals"):
        signal.build(signal.Options(signal="record"), Context())


def test_signal_without_a_finite_score_has_no_verdict():
    context = Context(build=lambda kind, name, options: lambda segments: [float("nan")] * len(segments))
    assert scored(signal.build(signal.Options(signal="nan"), context), "a\n") == [None]


def test_length():
    reward = length.build(length.Options(low=2, high=4, unit="words"), Context())
    assert scored(reward, "", "a", "a b", "a b c d", "a b c d e f", "a " * 9) == [0, 0.5, 1, 1, 0.5, 0]
    reward = length.build(length.Options(low=2, high=4), Context())
    assert reward([PROMPT], [completion("", (1, 2, 3), (True, True, False))]) == [0.5]


def test_the_signal_reward_is_built_from_an_entry_as_a_recipe_gives_it():
    """The entry's own `name` is the reward's; the signal has a key of its own."""
    from penchant.plugins import build_context, plug

    context = build_context(0, None, {"name": "function_body"})
    reward = plug("rewards", {"name": "signal", "signal": "style", "weight": 1.0}, context)
    assert scored(reward, "x = 1\n") == [0.0]
    assert scored(reward, "x=1\n") == [-1.0]
