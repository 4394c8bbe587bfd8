"""Bytes -> text: UTF-8, then what a Python file declares, then cp1252; never a silent loss."""

from __future__ import annotations

import io
import tokenize

__all__ = ["BadBytesError", "decode"]


class BadBytesError(Exception):
    """Bytes that are no text; `cause` names the kind, for counts."""

    def __init__(self, cause: str, detail: str):
        super().__init__(detail)
        self.cause, self.detail = cause, detail


_CONTROLS = [bytes([k]) for k in range(32) if k not in b"\t\n\v\f\r\x1b"]
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def decode(data: bytes, python: bool = False) -> tuple[str, str]:
    """The text of bytes and the encoding that fitted.

    Args:
        data: the bytes; a byte order mark decides by itself.
        python: whether a `coding:` line counts (PEP 263).

    Raises:
        BadBytesError: NUL bytes (cause "binary"), or no encoding fits (cause "undecodable").
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError as error:
                raise BadBytesError("undecodable", f"not {encoding}: {error.reason} at byte {error.start}") from error
    if (nul := data.find(b"\0")) >= 0:
        raise BadBytesError("binary", f"a NUL byte at byte {nul}")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        wrong = error
    if python and (declared := _declared(data)):
        try:
            return data.decode(declared), declared
        except (UnicodeDecodeError, LookupError):
            pass
    if sum(map(data.count, _CONTROLS)) > 0.02 * len(data):
        raise BadBytesError("binary", f"not UTF-8 (byte {wrong.start}), and too many control characters for text")
    try:
        return data.decode("cp1252"), "cp1252"
    except UnicodeDecodeError as error:
        raise BadBytesError(
            "undecodable", f"neither UTF-8 (byte {wrong.start}) nor cp1252 (byte {error.start})"
        ) from error


def _declared(data: bytes) -> str | None:
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except (SyntaxError, LookupError):
        return None
