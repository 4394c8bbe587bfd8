"""Readability: Flesch's or one like Dale and Chall's (higher is easier), and a measure of its own for Chinese; offline.

English: 206.835 - 1.015 words/sentences - 84.6 syllables/words ("A new readability yardstick", Flesch, 1948), with
syllables counted by rules; or minus the score of `_familiar`, which counts unfamiliar words (a list for another
language may be given). Chinese, where words and syllables say little: 100 - 2 (characters a clause), our own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from penchant.contracts import Context
from penchant.records import Segment
from penchant.signals._familiar import dale_chall, familiar_words
from penchant.text.segment import segment_ends

__all__ = ["LANGUAGES", "RANGE", "REMOTE", "Options", "build", "flesch", "syllables"]

RANGE = (None, 206.835 - 1.015 - 84.6)  # one sentence of one-syllable words, one word long
LANGUAGES: Sequence[str] = ("en", "zh")
REMOTE = False

_WORD = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ]+(?:['’][A-Za-z]+)?")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_CLAUSE = re.compile(r"[，。！？；：、…\n]+")
_VOWELS = re.compile(r"[aeiouyà-öø-ÿ]+")
# Endings that are written with a vowel and spoken without one.
_SILENT = re.compile(r"(?:[aeiouy]l(?:e|es|ed)|[^laeiouy]es?|[^dtaeiouy]ed)$")
# Neighbouring vowels that are spoken apart.
_APART = re.compile(r"(?<![tscg])ia|iu|iet|ienc|i[o](?!u|n)|ea$|eat(?:e|or|ion|ing|ive)|ua|eous|[aeiou]ing$")
_HISSING = re.compile(r"(?:[sxz]|[cs]h|[cg])es$")


class Options(BaseModel):
    """Options of the signal."""

    model_config = ConfigDict(extra="forbid")
    min_words: int = Field(1, ge=1, description="a segment with fewer words (or Han characters) gets `otherwise`")
    otherwise: float | None = Field(
        None, description="the score of a segment that has too few words to tell; null: 100, or 0 for dale_chall"
    )
    measure: Literal["flesch", "dale_chall"] = Field(
        "flesch", description="of texts that are not mostly Han characters"
    )
    familiar: str | None = Field(
        None, description="dale_chall: a file of familiar words, one a line; null: English ones"
    )


def build(options: Options, context: Context) -> Callable[[Sequence[Segment]], list[float]]:
    """The signal: each segment by itself.

    Raises:
        InputError: no such file of familiar words.
    """

    least = options.min_words
    if options.measure == "dale_chall":
        known = familiar_words(options.familiar)
        otherwise = 0.0 if options.otherwise is None else options.otherwise

        def ease(text: str) -> float:
            if mostly_han(text):
                return flesch(text, least, otherwise)
            found = dale_chall(text, known, least)
            return otherwise if found is None else -found
    else:
        otherwise = 100.0 if options.otherwise is None else options.otherwise

        def ease(text: str) -> float:
            return flesch(text, least, otherwise)

    return lambda segments: [ease(segment.text) for segment in segments]


def mostly_han(text: str) -> bool:
    """Whether a text has more Han characters than words."""
    return len(_HAN.findall(text)) > len(_WORD.findall(text))


def flesch(text: str, min_words: int = 1, otherwise: float = 100.0) -> float:
    """Reading ease of a text; texts that are mostly Han characters take the Chinese measure."""
    han, words = len(_HAN.findall(text)), _WORD.findall(text)
    if han > len(words):
        if han < min_words:
            return otherwise
        clauses = sum(1 for clause in _CLAUSE.split(text) if _HAN.search(clause))
        return 100.0 - 2.0 * han / max(1, clauses)
    if len(words) < min_words:
        return otherwise
    sentences = len(segment_ends(text.strip(), "sentence", "en"))
    spoken = sum(syllables(word.lower()) for word in words)
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * spoken / len(words)


@functools.lru_cache(maxsize=100_000)
def syllables(word: str) -> int:
    """Syllables of a lower-case English word by rules; right for about 9 of 10 words."""
    word = word.removesuffix("'s").removesuffix("’s")
    count = len(_VOWELS.findall(word))
    if _SILENT.search(word) and not _HISSING.search(word):
        count -= 1
    return max(1, count + len(_APART.findall(word)))
