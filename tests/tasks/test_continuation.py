import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from penchant.contracts import Context
from penchant.records import Document, Prompt
from penchant.tasks import continuation
from penchant.tasks.continuation import MEASURES, Continuation, Options

PROMPT = Prompt((), "Once. ", "a.txt")


def words(segments):
    """A signal: how many words."""
    return [float(len(segment.text.split())) for segment in segments]


def task(signal=words, **options):
    return Continuation(signal, Options(signal={"name": "words"}, **{"threshold": 2, "low": 1, "high": 3, **options}))


def test_spots_stand_at_segment_ends_apart_and_away_from_both_ends():
    text = "0123456789\n" * 10
    ends = tuple(range(11, 111, 11))
    spots = task(min_chars=20).spots(Document("a.txt", text, ends))
    assert [spot.end for spot in spots] == [22, 44, 66, 88]
    assert task(min_chars=200).spots(Document("a.txt", text, ends)) == []
    assert task().spots(Document("a.txt", "", ())) == []


def test_judged_by_line_blank_lines_not_counted():
    found = task().judge(PROMPT, "a b c\n\nd\n", "end")
    assert found.measures["score"] == (4, 2)
    assert found.measures["good_rate"] == (1, 2)
    assert found.measures["reward"] == (0.5, 1)
    assert [(mark.line, mark.code) for mark in found.marks] == [(3, "low")]


def test_a_line_cut_by_the_limit_is_left_out_unless_it_is_all():
    assert task().judge(PROMPT, "a b c\nd", "length").text == "a b c\n"
    assert task().judge(PROMPT, "a b c\nd", "end").text == "a b c\nd"
    assert task().judge(PROMPT, "a b c", "length").text == "a b c"
    assert task().judge(PROMPT, "a b c\nd\n", "length").text == "a b c\nd\n"


def test_sentences():
    text = 'He said "No." Mr. Smith left. 他走了。她也'
    found = task(segments="sentence").judge(PROMPT, text, "length")
    assert found.text == 'He said "No." Mr. Smith left. 他走了。'
    assert found.measures["length"] == (3, 1)
    whole = task(segments="sentence").judge(PROMPT, "One here. Two there.", "length")
    assert whole.text == "One here. Two there."


@pytest.mark.parametrize("text", ["", "\n\n", "   "])
def test_nothing_written_earns_nothing(text):
    found = task().judge(PROMPT, text, "end")
    assert found.measures["reward"] == (0, 1)
    assert found.measures["score"] == (0, 0)


def test_scores_that_are_no_numbers_count_nowhere():
    found = task(lambda segments: [float("nan"), 2.0]).judge(PROMPT, "a\nb\n", "end")
    assert found.measures["score"] == (2, 1)


def test_reward_is_cut_off_at_both_ends():
    assert task().judge(PROMPT, "a b c d e\n", "end").measures["reward"] == (1, 1)
    assert task(low=2).judge(PROMPT, "a\n", "end").measures["reward"] == (0, 1)


@pytest.mark.parametrize("options", [{"signal": {}}, {"signal": {"name": "x"}, "low": 1, "high": 1}, {}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValidationError):
        Options(**options)


def test_build_asks_the_context_for_its_signal():
    asked = []

    def build(kind, name, options):
        asked.append((kind, name, options))
        return words

    made = continuation.build(Options(signal={"name": "words", "x": 1}), Context(build=build))
    assert asked == [("signals", "words", {"x": 1})]
    assert made.judge(PROMPT, "a b\n", "end").measures["score"] == (2, 1)
    with pytest.raises(ValueError, match="builds signals"):
        continuation.build(Options(signal={"name": "words"}), Context())


@settings(max_examples=100, deadline=None)
@given(text=st.text(), unit=st.sampled_from(["line", "sentence"]), stop=st.sampled_from(["end", "length"]))
def test_any_text_is_judged(text, unit, stop):
    found = task(segments=unit).judge(PROMPT, text, stop)
    assert set(found.measures) == set(MEASURES)
    assert text.startswith(found.text)
    assert 0 <= found.measures["reward"][0] <= 1
