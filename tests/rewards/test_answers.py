"""Rewards of answers: numbers, formats, repetition, metrics by their short names, columns that are not there."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.plugins import build_context, checked, plug
from penchant.records import Completion, Prompt
from penchant.rewards.numeric import number_in


def said(text):
    return Completion((), np.zeros(0, np.float32), np.zeros(0, bool), text, "end")


def asked(**columns):
    return Prompt((), "?", "a", columns)


def judge(entry, texts, prompts):
    context = Context(build=lambda kind, name, options: plug(kind, {"name": name, **options}, Context()))
    return plug("rewards", entry, context)(prompts, [said(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so it is 42.", 42), ("He pays $1,234.50 in all", 1234.5), ("Step 1: 5. Answer: -3", -3), ("none", None),
        (r"thus \boxed{7/2} of 9", 3.5), ("a b c #### 1,000", 1000), ("75%", 0.75), ("3 apples", 3), ("1/0", None),
    ],
)  # fmt: skip
def test_the_number_of_a_text(text, number):
    found = number_in(text)
    assert (found is None) == (number is None)
    assert found is None or found == pytest.approx(number)


def test_numeric():
    texts = ["It is 18.", "It is 17", "no idea", "18.0"]
    assert judge({"name": "numeric"}, texts, [asked(answer="9 + 9 #### 18")] * 4) == [1, 0, 0, 1]
    assert judge({"name": "numeric"}, ["1"], [asked(answer="unknown")]) == [None]
    assert judge({"name": "numeric", "tolerance": 0.1}, ["19"], [asked(answer=18)]) == [1]


@pytest.mark.skipif("PENCHANT_DATA" not in os.environ, reason="PENCHANT_DATA is not set")
def test_right_answers_of_real_problems_are_right():
    files = sorted(Path(os.environ["PENCHANT_DATA"], "math").glob("gsm8k*.jsonl.gz"))
    assert files
    with gzip.open(files[0], "rt") as lines:
        rows = [json.loads(line) for _, line in zip(range(300), lines, strict=False)]
    answers = [str(row["answer"]) for row in rows]
    prompts = [asked(answer=answer) for answer in answers]
    assert judge({"name": "numeric"}, answers, prompts) == [1.0] * len(rows)
    assert sum(judge({"name": "numeric"}, answers[1:] + answers[:1], prompts)) < 0.1 * len(rows)


def test_format_and_repetition():
    texts = ["<think>a</think> 5", "5", "<think>\n\n</think>"]
    assert judge({"name": "format", "pattern": "<think>.*</think>"}, texts, [asked()] * 3) == [1, 0, 1]
    assert judge({"name": "format", "pattern": r"\d", "where": "full"}, texts, [asked()] * 3) == [0, 1, 0]
    with pytest.raises(InputError, match="no regular expression"):
        checked("rewards", {"name": "format", "pattern": "("})
    found = judge({"name": "repetition", "n": 2}, ["a b a b a b", "a b c d", "a"], [asked()] * 3)
    assert found == pytest.approx([2 / 5, 1, 1])


def test_metrics_and_signals_by_short_names():
    prompts = [asked(answer="a big dog"), asked(answer=["no", "a big dog"])]
    for name in ("rouge", "metric:rouge"):
        entry = {"name": name, "kind": "rouge1", "weight": 2.0}
        assert judge(entry, ["a big dog", "a dog"], prompts) == pytest.approx([1.0, 0.8])
    assert judge({"name": "exact_match", "first_line": True}, ["A big dog.\nmore"], prompts[:1]) == [1.0]
    assert judge({"name": "token_f1", "column": "answers"}, ["x"], [asked(answers={"text": ["x"]})]) == [1.0]
    (easy,) = judge({"name": "signal:readability"}, ["The cat sat on the mat."], [asked()])
    assert easy is not None
    with pytest.raises(InputError, match="compares with no references"):
        judge({"name": "metric:distinct"}, ["x"], prompts[:1])
    with pytest.raises(InputError, match="no metric named 'rogue'"):
        judge({"name": "metric:rogue"}, ["x"], prompts[:1])


def test_a_column_that_is_not_there_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'answers'"):
        judge({"name": "bleu"}, ["x"], [asked(answers="x")])
    assert build_context(0, None, {"name": "answer"}).task is not None
