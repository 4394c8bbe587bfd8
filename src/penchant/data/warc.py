"""Web archives: the text of each page of a WET dump, or of each HTML or text response of a WARC dump."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any

from penchant.data.decode import BadBytesError, decode
from penchant.data.tables import Bad, BrokenFileError
from penchant.errors import MissingExtra

__all__ = ["page_text", "warc"]

_UNSEEN = {"script", "style", "template", "noscript", "svg", "head", "nav", "footer", "form", "iframe"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_BREAKS = {
    *("p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "article", "header", "main", "aside", "blockquote"),
    *("pre", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "dd", "dt", "dl", "figcaption", "td", "th"),
}


def warc(
    path: Path, opener: Callable[[Path], IO[bytes]], limit: int, encodings: Counter[str]
) -> Iterator[tuple[int, dict[str, Any] | Bad]]:
    """Rows `text`, `url`, `date` of conversion records (WET) and of responses of type text (WARC); others hold no text.

    Record numbers count all records, so that a reject can be found again. ISO 28500 describes the format.

    Raises:
        MissingExtra: warcio is not installed.
        BrokenFileError: the file is no web archive, or ends within a record's header.
    """
    try:
        from warcio.archiveiterator import ArchiveIterator
        from warcio.exceptions import ArchiveLoadFailed
    except ImportError as error:
        raise MissingExtra("a WARC or WET file", "text") from error
    try:
        with open(path, "rb") as handle:  # warcio unpacks by itself: each record may be packed alone
            for number, record in enumerate(ArchiveIterator(handle), 1):
                kind = _kind(record)
                if kind is None:
                    continue
                data = record.content_stream().read(limit + 1)
                if len(data) > limit:
                    yield number, Bad("too big", f"more than {limit:,} bytes")
                else:
                    yield number, _row(record, data, kind, encodings)
    except ArchiveLoadFailed as error:
        raise BrokenFileError(str(error)) from error


def _kind(record: Any) -> str | None:
    """Whether a record holds a page's text ("text") or its source ("html")."""
    if record.rec_type == "conversion":
        return "text"
    if record.rec_type != "response" or record.http_headers is None:
        return None
    if not str(record.http_headers.get_statuscode()).startswith("2"):
        return None
    media = (record.http_headers.get_header("Content-Type") or "").partition(";")[0].strip().lower()
    return {"text/html": "html", "application/xhtml+xml": "html", "text/plain": "text"}.get(media)


def _row(record: Any, data: bytes, kind: str, encodings: Counter[str]) -> dict[str, Any] | Bad:
    try:
        text, encoding = decode(data)
    except BadBytesError as error:
        return Bad(error.cause, error.detail)
    if encoding != "utf-8":
        encodings[encoding] += 1
    columns = {"url": "WARC-Target-URI", "date": "WARC-Date"}
    rest = {name: record.rec_headers.get_header(header) for name, header in columns.items()}
    return {"text": page_text(text) if kind == "html" else text, **rest}


def page_text(html: str) -> str:
    """What a reader of a page sees, a line a block; scripts, styles, forms and navigation left out."""
    parser = _Seen()
    parser.feed(html)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).split("\n"))
    return "\n".join(line for line in lines if line)


class _Seen(HTMLParser):
    """Gathers text outside of elements that are not shown; `hidden` holds those that are open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self.hidden.clear()  # a head that was never closed
        if tag in _UNSEEN and tag not in _VOID:
            self.hidden.append(tag)
        elif tag in _BREAKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.hidden:
            del self.hidden[self.hidden.index(tag) :]
        elif tag in _BREAKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(data.replace("\n", " "))
