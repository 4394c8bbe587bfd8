"""How metrics see words: SQuAD's normalisation, and words of texts that put no space between them."""

from __future__ import annotations

import re
import string
import unicodedata

__all__ = ["new_share", "normalised", "words_of"]

_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_PIECES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+", re.UNICODE)
_PUNCTUATION = {ord(c): None for c in string.punctuation + "，。！？；：、（）《》「」『』“”‘’…"}


def normalised(text: str) -> str:
    """Lower case without punctuation, articles and double space (Rajpurkar et al. 2016, their evaluation script)."""
    text = unicodedata.normalize("NFC", text).lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def words_of(text: str) -> list[str]:
    """Words in lower case; each Chinese or Japanese character is one."""
    return _PIECES.findall(unicodedata.normalize("NFC", text).lower())


def new_share(text: str, n: int) -> float:
    """The share of a text's n-grams of words that are new in it, in [0, 1]; 1 for a text of fewer than n words."""
    words = words_of(text)
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
