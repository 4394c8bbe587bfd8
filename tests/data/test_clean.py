import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.clean import clean, even_spaces, repairer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d\x85e", "a\nb\nc\nd\ne"),
        ("\ufeffa", "a"),
        ("a  \t\n\n  b  ", "a  \t\n\n  b  "),  # white space is a signal
        ("a\x0cb\x00\x07\x7fc", "a\x0cbc"),
        ("cafe\u0301", "café"),
        ("\ud83d\ude00 \ud800", "😀 \ufffd"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters()))
def test_cleaning_again_changes_nothing(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode("utf-8")
    assert "\r" not in once
    assert "\0" not in once


def test_repair_of_wrongly_decoded_prose() -> None:
    pytest.importorskip("ftfy")
    repair = repairer()
    assert repair("cafÃ©") == "café"
    assert repair("“curly” stays &amp; so does this") == "“curly” stays &amp; so does this"


@given(st.text(st.sampled_from("ab \t\n\u00a0\u3000\u200b\r\x0c"), max_size=60))
def test_even_spaces_again_change_nothing_and_keep_every_word(text: str) -> None:
    once = even_spaces(text)
    assert even_spaces(once) == once
    assert once.split() == text.replace("\u200b", "").split()
    assert not {"\u00a0", "\u3000", "\r"} & set(once)
