"""Normalise texts: NFC, newlines, control characters. Trailing white space stays: in code it is a signal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from penchant.errors import MissingExtra

__all__ = ["clean", "even_spaces", "repairer"]

# C0 and C1 controls but tab, newline and form feed (a page break that Python's own sources use).
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]")
_NEWLINE = re.compile("\r\n?|\x85|\u2028|\u2029")
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The text in normal form; `clean(clean(t)) == clean(t)`.

    Lone surrogates become U+FFFD, every kind of newline "\\n", a leading byte order mark and control characters go
    away, and characters are composed (Unicode NFC).
    """
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = _CONTROL.sub("", _NEWLINE.sub("\n", text)).lstrip("\ufeff")
    return unicodedata.normalize("NFC", text)


def even_spaces(text: str) -> str:
    """Every kind of blank a space, none at a line's end, no more than one empty line; indents and tabs stay."""
    text = _NEWLINE.sub("\n", text).replace("\u200b", "")
    text = re.sub(r"[^\S\n\t\f]", " ", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+(?=\n|\Z)", "", text))


def repairer() -> Callable[[str], str]:
    """ftfy's repair of wrongly decoded prose ("cafÃ©" -> "café"), to be called before `clean`.

    Raises:
        MissingExtra: ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError as error:
        raise MissingExtra("data.repair", "text") from error
    config = ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False)
    return lambda text: ftfy.fix_text(text, config)
