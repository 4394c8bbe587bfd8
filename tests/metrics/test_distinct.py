import numpy as np
import pytest

from penchant.contracts import Context
from penchant.metrics import distinct as metric
from penchant.metrics.distinct import NGrams, difference, distinct, interval, ngrams, words


def test_words():
    assert words("self.one_two(3, 'é') 你好a") == ["self", "one_two", "3", "é", "你", "好", "a"]


def test_ngrams():
    assert ngrams("a b c") == [("a", "b"), ("b", "c")]
    assert ngrams("a") == []
    assert ngrams("a b c", 3) == [("a", "b", "c")]


def test_by_hand_and_no_ngram_spans_two_texts():
    assert distinct(["a b a b"]).value == pytest.approx(2 / 3)
    assert distinct(["a b", "b c"]).value == 1
    assert distinct(["a b"] * 4).value == 0.25


def test_fixed_size_says_when_there_is_less():
    found = distinct(["a b c"], size=100)
    assert (found.value, found.size, found.available, found.wanted) == (1, 2, 2, 100)
    assert distinct([], size=5).value is None
    assert distinct(["word"]).value is None


def test_only_the_first_are_looked_at_in_a_seeded_order():
    texts = [f"a{i} b{i}" for i in range(50)] + ["x y"] * 50
    values = {distinct(texts, size=20, seed=seed).value for seed in range(10)}
    assert len(values) > 1
    assert distinct(texts, size=20, seed=1) == distinct(texts, size=20, seed=1)
    assert distinct(texts, size=20).size == 20


def test_build():
    assert metric.build(metric.Options(n=1, size=3), Context())(["a a b c"]).value == pytest.approx(2 / 3)


def _rows(random, files=30, vocabulary=40):
    texts = [" ".join(random.choice(vocabulary, 30).astype(str)) for _ in range(files * 4)]
    return texts, [str(i // 4) for i in range(files * 4)]


def test_the_interval_holds_its_value_and_has_the_right_width():
    random = np.random.default_rng(0)
    widths, values = [], []
    for trial in range(40):
        texts, files = _rows(random)
        found = interval(NGrams.of([texts], [files])[0], 1500, resamples=200, seed=trial)
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
        values.append(found.value)
    # Truth from fresh texts: the spread of the value itself.
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(values), rel=0.5)


def test_difference_of_a_repeating_row():
    random = np.random.default_rng(1)
    texts, files = _rows(random)
    poor = [text.replace("1", "2") for text in texts]
    a, b, same = NGrams.of([texts, poor, texts], [files] * 3)
    found = difference(a, b, 1500, resamples=200)
    assert found.high < 0
    assert found.p < 0.05
    assert difference(a, same, 1500, resamples=200).p == 1
    assert difference(a, NGrams.of([[]], [[]])[0], 1500).p is None


def test_one_file_has_no_interval():
    row = NGrams.of([["a b c"]], [["a"]])[0]
    found = interval(row, 2)
    assert (found.value, found.low, found.high, found.n, found.files) == (1, None, None, 1, 1)
