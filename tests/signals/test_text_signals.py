import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.contracts import Context
from penchant.errors import InputError, MissingExtra
from penchant.records import Segment
from penchant.signals import pii, readability, repetition, sentiment
from penchant.signals.readability import flesch, syllables


def segments(*texts: str) -> Sequence[Segment]:
    return [Segment(text, 0) for text in texts]


def test_repetition_counts_what_is_new() -> None:
    score = repetition.build(repetition.Options(n=2), Context())
    assert score(segments("one two three four", "go on go on go on", "天地天地天", "word", "")) == [
        1,
        2 / 5,
        2 / 4,
        1,
        1,
    ]


def test_pii_counts_the_kinds_that_are_asked_for() -> None:
    text = "Write to ann@example.org or bob@example.org, from 192.0.2.7."
    assert pii.build(pii.Options(), Context())(segments(text, "Nothing here.")) == [-3, 0]
    assert pii.build(pii.Options(kinds=["ip"]), Context())(segments(text)) == [-1]


def test_sentiment_orders_praise_before_blame() -> None:
    pytest.importorskip("vaderSentiment")
    score = sentiment.build(sentiment.Options(), Context())
    good, plain, bad = score(segments("A wonderful, happy day!", "A table.", "A horrible, sad day."))
    assert 1 >= good > 0.5 > plain == 0 > -0.5 > bad >= -1
    assert sentiment.build(sentiment.Options(negate=True), Context())(segments("A wonderful day!"))[0] < 0
    assert score([]) == []


def test_sentiment_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(MissingExtra, match=r'signal sentiment needs: pip install "penchant\[text\]"') as raised:
        sentiment.build(sentiment.Options(), Context())
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("the", 1),
        ("table", 2),
        ("house", 1),
        ("houses", 2),
        ("loved", 1),
        ("wanted", 2),
        ("people", 2),
        ("idea", 3),
        ("whole", 1),
        ("nation", 2),
        ("going", 2),
        ("beautiful", 3),
        ("mother's", 2),
        ("quiet", 2),
        ("family", 3),
    ],
)
def test_syllables(word: str, count: int) -> None:
    assert syllables(word) == count


def test_flesch_by_hand() -> None:
    assert flesch("The cat sat on the mat.") == pytest.approx(206.835 - 1.015 * 6 - 84.6)
    assert flesch("The cat sat. The dog ran.") == pytest.approx(206.835 - 1.015 * 3 - 84.6)
    assert flesch("Mr. Cat sat on the mat.") == flesch("The cat sat on the mat.") - 84.6 / 6 * (syllables("mr") - 1)
    hard = flesch("Institutional considerations necessitate comprehensive reorganisation of administrative procedures.")
    assert hard < 0 < flesch("It was hot and we ran home to see the sea.")


def test_flesch_of_chinese_prefers_short_clauses() -> None:
    short, long = "天地玄黄，宇宙洪荒。", "天地玄黄宇宙洪荒日月盈昃辰宿列张。"
    assert flesch(short) == 100 - 2 * 4
    assert flesch(long) < flesch(short)


@given(st.text())
def test_flesch_of_anything_is_finite(text: str) -> None:
    assert -1e6 < flesch(text) <= readability.RANGE[1]


def test_readability_of_too_few_words() -> None:
    score = readability.build(readability.Options(min_words=3, otherwise=50), Context())
    assert score(segments("***", "Two words.", "Now three words.")) == [50, 50, flesch("Now three words.")]


def test_unfamiliar_words_make_a_text_hard(tmp_path: Path) -> None:
    score = readability.build(readability.Options(measure="dale_chall"), Context())
    easy, hard, names, none = score(
        [
            Segment(text, 0)
            for text in (
                "The cat sat on the mat. It played with its biggest toys and was happier.",
                "Epistemological ramifications notwithstanding, fiscal consolidation remained paramount.",
                "We met Angela at half past 10 in Heidelberg.",
                "...",
            )
        ]
    )
    assert easy == pytest.approx(-0.0496 * 7.5)
    assert hard == pytest.approx(-(0.1579 * 100 + 0.0496 * 7 + 3.6365))
    assert names == pytest.approx(-0.0496 * 9)
    assert none == 0.0
    (tmp_path / "words.txt").write_text("die katze\nsitzt")
    own = readability.build(readability.Options(measure="dale_chall", familiar=str(tmp_path / "words.txt")), Context())
    assert own([Segment("Die Katze sitzt.", 0)]) == [pytest.approx(-0.0496 * 3)]
    assert own([Segment("人人生而自由，在尊严和权利上一律平等。", 0)])[0] > 50
    with pytest.raises(InputError, match="familiar words"):
        readability.build(readability.Options(measure="dale_chall", familiar=str(tmp_path / "none.txt")), Context())
