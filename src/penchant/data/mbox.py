"""Mail archives (mbox): the plain text of each message, with its author and what it replies to."""

from __future__ import annotations

import mailbox
from collections import Counter
from collections.abc import Callable, Iterator
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr
from pathlib import Path
from typing import IO, Any

from penchant.data.decode import BadBytesError, decode
from penchant.data.tables import Bad

__all__ = ["mbox"]


def mbox(
    path: Path, opener: Callable[[Path], IO[bytes]], limit: int, encodings: Counter[str]
) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    """Rows `text`, `id`, `reply_to` (message ids; see `threads`), `author` (an address), `subject`, `date`.

    A message without a plain text part has no text. One message is held at a time.
    """
    box = mailbox.mbox(path, create=False)
    try:
        for number, key in enumerate(box.iterkeys(), 1):
            with box.get_file(key) as handle:
                size = len(handle.read(limit + 1))
            if size > limit:
                yield number, Bad("too big", f"more than {limit:,} bytes")
            else:
                yield number, _row(box.get_message(key), encodings)
    finally:
        box.close()


def _row(message: Message, encodings: Counter[str]) -> dict[str, Any] | Bad:
    try:
        parts = [_text(part, encodings) for part in message.walk() if part.get_content_type() == "text/plain"]
    except BadBytesError as error:
        return Bad(error.cause, error.detail)
    named = (message.get("In-Reply-To") or message.get("References") or "").split()
    return {
        "text": "\n".join(parts),
        "id": _header(message, "Message-ID").strip(),
        "reply_to": named[-1] if named else None,
        "author": parseaddr(_header(message, "From"))[1].lower(),
        "subject": _header(message, "Subject"),
        "date": _header(message, "Date"),
    }


def _text(part: Message, encodings: Counter[str]) -> str:
    """A part's text by the character set that it names, else as any file's."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    charset = part.get_content_charset() or "utf-8"
    try:
        return data.decode(charset)
    except (LookupError, UnicodeDecodeError):
        text, encoding = decode(data)
        encodings[encoding] += 1
        return text


def _header(message: Message, name: str) -> str:
    """A header, decoded (RFC 2047); as it stands where that fails."""
    value = message.get(name) or ""
    try:
        return str(make_header(decode_header(value)))
    except (LookupError, UnicodeDecodeError, ValueError):
        return str(value)
