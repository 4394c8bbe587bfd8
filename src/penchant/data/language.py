"""Guess a text's language from its script and commonest words: enough to choose rules, offline and deterministic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from penchant.data.files import is_code
from penchant.errors import MissingExtra

__all__ = ["guess_language", "identifier"]

_COMMON = {
    "en": "the and of to in that was he it his is with as for had you not be her she on at by which",
    "de": "der die und das nicht ist ein eine mit sich auf den dem von zu wird auch er sie es war ich",
    "fr": "le la les et des est une que qui dans pour pas sur plus du il elle nous vous ce au avec",
    "es": "el los las y que es una por con para no del se lo como más su al pero",
    "it": "il che di è una non per con del della sono gli si lo come più ma anche",
}
_LANGUAGES: dict[str, list[str]] = {}
for _language, _words in _COMMON.items():
    for _word in set(_words.split()):
        _LANGUAGES.setdefault(_word, []).append(_language)
_WORD = re.compile(r"[^\W\d_]+")
_KANA, _HAN = re.compile("[\u3040-\u30ff]"), re.compile("[\u3400-\u9fff]")
_SAMPLE = 4000


def guess_language(text: str, name: str = "") -> str:
    """An ISO code ("en", "de", "fr", "es", "it", "zh", "ja"), "python" for a `.py` file, or "und" (undetermined).

    Args:
        text: its first 4,000 characters are looked at.
        name: the file's name.
    """
    if is_code(name, (".py",)):
        return "python"
    sample = text[:_SAMPLE]
    letters = sum(map(str.isalpha, sample))
    if not letters:
        return "und"
    kana, han = (0, 0) if sample.isascii() else (len(_KANA.findall(sample)), len(_HAN.findall(sample)))
    if kana + han > 0.3 * letters:
        return "ja" if kana > 0.1 * (kana + han) else "zh"
    words = _WORD.findall(sample.lower())
    shares = dict.fromkeys(_COMMON, 0)
    for word, times in Counter(words).items():
        for language in _LANGUAGES.get(word, ()):
            shares[language] += times
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= max(1, 0.08 * len(words)) else "und"


def identifier() -> Callable[[str], str]:
    """py3langid's guess among 97 languages, from a text's first 4,000 characters.

    Raises:
        MissingExtra: py3langid is not installed.
    """
    try:
        import py3langid
    except ImportError as error:
        raise MissingExtra("data.languages", "text") from error
    return lambda text: str(py3langid.classify(text[:_SAMPLE])[0])
