"""Readability as Dale and Chall measure it: the share of words that children may not know, and the length of sentences.

0.1579 (% unfamiliar words) + 0.0496 (words / sentences), and 3.6365 more where over 5 % are unfamiliar ("A formula for
predicting readability", Dale and Chall 1948). Their list has 3,000 words; ours (`familiar_en.txt`, written for this)
has 1,700, so scores lie higher: they order texts, and are no school grades. As in their rules an inflected form of a
familiar word is familiar, and so are names and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from penchant.errors import InputError
from penchant.text.segment import segment_ends

__all__ = ["dale_chall", "familiar_words"]

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_OWN = Path(__file__).with_name("familiar_en.txt")
_ENDINGS = {
    "": ("s", "es", "d", "ed", "ing", "er", "r", "est", "st", "ly", "n", "en"),
    "y": ("ies", "ied", "ier", "iest", "ily"),
    "e": ("ing",),
}  # what they stand instead of


def familiar_words(path: str | None) -> frozenset[str]:
    """A list of words with white space between, in small letters; None: our own of English.

    Raises:
        InputError: no such file, or no word in it.
    """
    file = _OWN if path is None else Path(path)
    try:
        words = frozenset(file.read_text(encoding="utf-8").lower().split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list of familiar words cannot be read: {error}", "check the path", file=file) from error
    if not words:
        raise InputError("the list of familiar words is empty", "give words with white space between", file=file)
    return words


def dale_chall(text: str, familiar: frozenset[str], least: int = 1) -> float | None:
    """The score of a text, higher where it is harder; None where it has fewer than `least` words."""
    count = unfamiliar = sentences = 0
    start = 0
    for end in segment_ends(text.strip(), "sentence", "en"):
        own = _WORD.findall(text.strip()[start:end])
        start = end
        sentences += bool(own)
        count += len(own)
        unfamiliar += sum(not _known(word, place, familiar) for place, word in enumerate(own))
    if count < max(1, least):
        return None
    share = 100 * unfamiliar / count
    return 0.1579 * share + 0.0496 * count / sentences + (3.6365 if share > 5 else 0.0)


def _known(word: str, place: int, familiar: frozenset[str]) -> bool:
    if any(map(str.isdigit, word)) or (place and word[0].isupper() and not word.isupper()):
        return True  # numbers, and names within a sentence
    return all(
        any(form in familiar for form in _forms(part)) for part in re.split("[-]", word.lower().replace("’", "'"))
    )


def _forms(word: str) -> Iterator[str]:
    """A word, and what it may be made from."""
    yield word
    yield word.split("'")[0]
    for instead, endings in _ENDINGS.items():
        for ending in endings:
            stem = word.removesuffix(ending)
            if len(word) > len(stem) > 1:
                yield stem + instead
                if len(stem) > 2 and stem[-1] == stem[-2]:  # stopped, bigger
                    yield stem[:-1]
