import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penchant.text.segment import LANGUAGES, UNITS, segment_ends


def pieces(text: str, unit: str, language: str = "en") -> list[str]:
    ends = segment_ends(text, unit, language)
    return [text[a:b] for a, b in zip((0, *ends), ends, strict=False)]


@given(st.text(), st.sampled_from(UNITS), st.sampled_from([*LANGUAGES, "xx"]))
@example("\n\n", "line", "en")
@example("a. B.", "sentence", "en")
@example("。。\n \n", "sentence", "zh")
def test_segments_cover_any_text_without_gaps(text: str, unit: str, language: str) -> None:
    cut = pieces(text, unit, language)
    assert "".join(cut) == text
    assert all(cut)


@given(st.text(alphabet="ab \n.\x0c\u2028\r"))
def test_only_newlines_end_lines(text: str) -> None:
    assert pieces(text, "line") == [line + "\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]


def test_document_is_one_segment() -> None:
    assert segment_ends("one\ntwo", "document") == (7,)
    assert segment_ends("", "document") == ()


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Mr. Smith met Dr. J. R. Jones. They spoke.", ["Mr. Smith met Dr. J. R. Jones. ", "They spoke."]),
        ("en", "“Is it?” he said. “Yes!” She left…", ["“Is it?” he said. ", "“Yes!” ", "She left…"]),
        ("en", "Pi is 3.14 or so. See example.com now. E.g. this.", None),
        ("en", "So am I. You too.", ["So am I. ", "You too."]),
        ("en", "A title\n\nA text. More", ["A title\n\n", "A text. ", "More"]),
        (
            "de",
            "Am 3. Oktober kam Dr. Weiß. Er blieb z.B. hier.",
            ["Am 3. Oktober kam Dr. Weiß. ", "Er blieb z.B. hier."],
        ),
        ("fr", "M. Dupont est là. Mme. Roy aussi ! Oui.", ["M. Dupont est là. ", "Mme. Roy aussi ! ", "Oui."]),
        ("zh", "天地玄黄。宇宙洪荒！“日月？”辰宿", ["天地玄黄。", "宇宙洪荒！", "“日月？”", "辰宿"]),
    ],
)
def test_sentences(language: str, text: str, expected: list[str] | None) -> None:
    cut = pieces(text, "sentence", language)
    if expected is None:
        assert cut[0] == "Pi is 3.14 or so. "
        assert cut[1].startswith("See example.com now")
    else:
        assert cut == expected


def test_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="paragraph"):
        segment_ends("a", "paragraph")
