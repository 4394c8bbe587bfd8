"""Cut a text into segments (lines, sentences or the whole) that cover it without gaps."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["LANGUAGES", "UNITS", "segment_ends"]

UNITS = ("line", "sentence", "document")
LANGUAGES = ("en", "de", "fr", "zh")

# A full stop after these does not end a sentence.
_ABBREVIATIONS = {
    "en": "mr mrs ms dr prof rev hon st gen col capt lieut lt sgt messrs jr sr vs etc eg ie cf no vol pp fig inc ltd co"
    " corp dept approx est jan feb mar apr jun jul aug sep sept oct nov dec viz",
    "de": "hr fr dr prof bzw ca usw evtl ggf sog str nr vgl bspw etc inkl exkl abs art bd jh mio mrd st",
    "fr": "m mm mme mmes mlle mlles dr me st ste etc cf p ex av apr env vol fig no art chap",
}
_ABBREVIATED = {language: frozenset(words.split()) for language, words in _ABBREVIATIONS.items()}
_CLOSERS = "\"'”’»›)\\]}」』）】》"
# Chinese (and Japanese) marks end a sentence where they stand; Western ones only before white space; a blank line does.
_END = re.compile(
    rf"(?P<cjk>[。！？｡]+[{_CLOSERS}]*\s*)|(?P<west>[.!?…]+[{_CLOSERS}]*(?=\s)\s*)|(?P<blank>\n[ \t]*\n\s*)"
)
_LAST_WORD = re.compile(r"(\w+)\W*$")


def segment_ends(text: str, unit: str, language: str = "en") -> tuple[int, ...]:
    """The character offset at which each segment ends; the last is `len(text)`; none for an empty text.

    Args:
        text: any text; only "\\n" separates lines (as Python's own tokenizer counts them).
        unit: "line" (a line keeps its newline), "sentence" (keeps the white space after it) or "document".
        language: whose abbreviations hold for sentences: "en", "de", "fr"; "zh" needs none. Others use English.

    Raises:
        ValueError: unknown unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is one of {', '.join(UNITS)}, not {unit!r}")
    if not text:
        return ()
    return _CUTTERS[unit](text, language)


def _whole(text: str, language: str) -> tuple[int, ...]:
    return (len(text),)


def _lines(text: str, language: str) -> tuple[int, ...]:
    ends, at = [], 0
    for line in text.split("\n"):
        at += len(line) + 1
        ends.append(at)
    # The piece after the last newline has no newline of its own, and is no segment if it is empty.
    ends[-1] -= 1
    return tuple(ends if len(ends) == 1 or ends[-1] > ends[-2] else ends[:-1])


def _sentences(text: str, language: str) -> tuple[int, ...]:
    ends = []
    for match in _END.finditer(text):
        if match["west"] and not _ends_sentence(text, match, language):
            continue
        ends.append(match.end())
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return tuple(ends)


def _ends_sentence(text: str, match: re.Match[str], language: str) -> bool:
    """Whether a Western mark ends a sentence here, seen from the word before and the letter after."""
    mark, after = match["west"].strip(), text[match.end() : match.end() + 1]
    if "\n" in match["west"] and match["west"].count("\n") > 1:
        return True
    if after.islower():
        return False  # "What?" he said; "approx. three"
    if mark != ".":
        return True
    word = _LAST_WORD.search(text, max(0, match.start() - 24), match.start())
    if word is None:
        return True
    last = word[1]
    if len(last) == 1 and last.isalpha() and last != "I":
        return False  # an initial
    if language == "de" and last.isdigit() and len(last) <= 2:
        return False  # an ordinal: "am 3. Oktober"
    return last.lower() not in _ABBREVIATED.get(language, _ABBREVIATED["en"])


_CUTTERS: dict[str, Callable[[str, str], tuple[int, ...]]] = {
    "line": _lines,
    "sentence": _sentences,
    "document": _whole,
}
