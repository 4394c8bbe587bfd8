"""Files -> rows: each row a text with where it came from, or a reject with its cause; never a text beyond the limit."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from penchant.data import tables
from penchant.data.decode import BadBytesError, decode
from penchant.data.files import Found, Source, find, is_code, packing
from penchant.data.mbox import mbox
from penchant.data.warc import warc
from penchant.errors import DataRejected, InputError

__all__ = ["BAD_CAUSES", "Reading", "Reject", "Row", "check_column", "check_rejects", "read", "read_one"]

# What makes a row bad; rows dropped for other reasons (duplicates, short ones) are no fault of the data.
BAD_CAUSES = {
    "unreadable": "check that the file is whole and that you may read it",
    "binary": "leave the file out, or convert it to text",
    "undecodable": "convert the file to UTF-8",
    "broken JSON": "mend the line: one JSON object a line",
    "broken row": "mend the row: as many fields as the header",
    "missing column": "name the column that holds the text with data.text_column=NAME",
    "not text": "name the column that holds the text with data.text_column=NAME",
    "too big": "cut it up, or raise data.max_document_bytes",
}


_READERS = {**tables.READERS, "warc": warc, "mbox": mbox}
_TEXT_OF_THEIR_OWN = ("warc", "mbox")  # formats in which the text has no name


@dataclass(frozen=True, slots=True)
class Row:
    """One text. `source` is the file's name, with `#row` where a file holds many; `row` counts from 1."""

    source: str
    text: str
    path: Path
    row: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be used, and why."""

    source: str
    row: int | None
    cause: str
    detail: str
    path: Path

    def as_json(self) -> dict[str, Any]:
        """As it stands in `rejects.jsonl`."""
        return {"source": self.source, "row": self.row, "cause": self.cause, "detail": self.detail}


@dataclass
class Reading:
    """What was read: usable rows, rejects, how many rows there were, and what was noted on the way."""

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    encodings: Counter[str] = field(default_factory=Counter)
    files: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Rows read, usable or not."""
        return len(self.rows) + len(self.rejects)

    @property
    def causes(self) -> Counter[str]:
        """How many rejects there are of each cause."""
        return Counter(reject.cause for reject in self.rejects)


def read(path: str | Sequence[str], text_column: str = "text", max_document_bytes: int = 5_000_000) -> Reading:
    """Read every row under a path (see `files.find`).

    Args:
        path: "stdlib", files, folders or globs.
        text_column: which column of JSON lines, CSV, Parquet and Arrow holds the text.
        max_document_bytes: a longer text is rejected, and never held in memory whole.

    Raises:
        InputError: a path does not exist, or no row has the text column.
    """
    found: Found = find(path)
    reading = Reading(files=len(found.sources), passed_over=found.passed_over)
    for source in found.sources:
        for item in read_one(source, text_column, max_document_bytes, reading.encodings):
            if isinstance(item, Row):
                reading.rows.append(item)
            else:
                reading.rejects.append(item)
    check_column(
        reading.rejects[:1], len(reading.rejects), reading.causes, any(r.row is not None for r in reading.rows)
    )
    return reading


def check_rejects(first: Sequence[Reject], causes: Mapping[str, int], count: int, max_reject_rate: float) -> None:
    """Stop where too many rows are bad.

    Args:
        first: the first reject, or none.
        causes: how many rejects there are of each cause.
        count: rows read, usable or not.

    Raises:
        DataRejected: names the first bad file and row, how many there are, and the mend.
    """
    bad = sum(causes.values())
    if not first or bad <= max_reject_rate * count:
        return
    one = first[0]
    counted = ", ".join(f"{n} {cause}" for cause, n in Counter(causes).most_common())
    raise DataRejected(
        f"{one.cause} ({one.detail}); {bad} of {count} rows are bad ({counted}), more than"
        f" max_reject_rate {max_reject_rate:g} allows",
        f"{BAD_CAUSES[one.cause]}, or raise data.max_reject_rate",
        file=one.path,
        row=one.row,
    )


def check_column(first: Sequence[Reject], rejects: int, causes: Mapping[str, int], rows_of_files: bool) -> None:
    """Stop where no row at all has the column: the name is wrong, not the data.

    Args:
        first: the first reject, or none.
        rejects, causes: how many, and of each cause.
        rows_of_files: whether any usable row came from a file of rows.

    Raises:
        InputError: names the columns that are there.
    """
    if first and not rows_of_files and causes.get("missing column", 0) == rejects:
        one = first[0]
        raise InputError(f"no row has the column ({one.detail})", BAD_CAUSES["missing column"], file=one.path,
                         row=one.row)  # fmt: skip


def read_one(source: Source, column: str, limit: int, encodings: Counter[str]) -> Iterator[Row | Reject]:
    """Rows of one file; what the system or a decompressor says against it becomes one reject."""
    try:
        if source.kind == "text":
            yield _whole(source, limit, encodings)
        else:
            yield from _rows(source, column, limit, encodings)
    except BadBytesError as error:
        yield Reject(source.name, None, error.cause, error.detail, source.path)
    except (OSError, EOFError, zlib.error, pa.ArrowException, tables.BrokenFileError) as error:
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield Reject(source.name, None, "unreadable", " ".join(detail.split())[:200], source.path)


def _open(path: Path) -> IO[bytes]:
    match packing(path):
        case ".gz":
            return gzip.open(path, "rb")  # type: ignore[return-value]
        case ".zst":  # pyarrow's reader, as it tells a stream that was cut off
            return io.BufferedReader(pa.input_stream(path, compression="zstd"))
        case _:
            return open(path, "rb")


def _whole(source: Source, limit: int, encodings: Counter[str]) -> Row | Reject:
    with _open(source.path) as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        return Reject(source.name, None, "too big", f"more than {limit:,} bytes", source.path)
    text, encoding = decode(data, python=is_code(source.name, (".py",)))
    if encoding not in ("utf-8", "utf-8-sig"):
        encodings[encoding] += 1
    return Row(source.name, text, source.path)


def _rows(source: Source, column: str, limit: int, encodings: Counter[str]) -> Iterator[Row | Reject]:
    column = "text" if source.kind in _TEXT_OF_THEIR_OWN else column
    for number, value in _READERS[source.kind](source.path, _open, limit, encodings):
        name = f"{source.name}#{number}"
        if isinstance(value, tables.Bad):
            yield Reject(name, number, value.cause, value.detail, source.path)
        elif column not in value:
            there = ", ".join(map(str, list(value)[:8])) or "none"
            yield Reject(name, number, "missing column", f"no {column!r}; the columns are {there}"[:300], source.path)
        elif value[column] is not None and not isinstance(value[column], str):
            kind = type(value[column]).__name__
            yield Reject(name, number, "not text", f"{column!r} holds {kind}", source.path)
        elif len((text := value[column] or "").encode("utf-8", "replace")) > limit:
            yield Reject(name, number, "too big", f"more than {limit:,} bytes", source.path)
        else:
            others = {k: v for k, v in value.items() if k != column and isinstance(v, str | int | float | bool | None)}
            yield Row(name, text, source.path, number, others)
