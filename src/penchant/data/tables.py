"""Readers of what holds many rows (JSON lines, CSV, Parquet, Arrow, the hub): (row number from 1, columns or Bad)."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from penchant.data import hub
from penchant.data.decode import BadBytesError, decode

__all__ = ["READERS", "Bad", "BrokenFileError"]

Open = Callable[[Path], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be read, and why."""

    cause: str
    detail: str


class BrokenFileError(Exception):
    """A file that its own format's library cannot read."""


Rows = Iterator[tuple[int, "dict[str, Any] | Bad"]]


def _json_lines(path: Path, opener: Open, limit: int, encodings: Counter[str]) -> Rows:
    with opener(path) as handle:
        for number, line in enumerate(_lines(handle, limit), 1):
            if isinstance(line, Bad):
                yield number, line
            elif line.strip():
                yield number, _json_row(line, encodings)


def _lines(handle: IO[bytes], limit: int) -> Iterator[bytes | Bad]:
    """Lines of at most about twice the limit (JSON may escape); a longer one is passed over in pieces."""
    most = 2 * limit + (1 << 16)
    first = True
    while line := handle.readline(most):
        if first and line.startswith(b"\xef\xbb\xbf"):
            line = line[3:]
        first = False
        if len(line) == most and not line.endswith(b"\n"):
            while (more := handle.readline(1 << 20)) and not more.endswith(b"\n"):
                pass
            yield Bad("too big", f"a line of more than {most:,} bytes")
        else:
            yield line


def _json_row(line: bytes, encodings: Counter[str]) -> dict[str, Any] | Bad:
    try:
        text, encoding = decode(line)
    except BadBytesError as error:
        return Bad(error.cause, error.detail)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Bad("broken JSON", f"{error}: {_excerpt(text)}")
    if not isinstance(value, dict):
        return Bad("broken JSON", f"not an object: {_excerpt(text)}")
    if encoding != "utf-8":
        encodings[encoding] += 1
    return value


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."


def _csv(path: Path, opener: Open, limit: int, encodings: Counter[str], **dialect: Any) -> Rows:
    """CSV with a header line; each line is decoded by itself, rows are counted without the header."""
    csv.field_size_limit(max(2 * limit, 1 << 17))
    with opener(path) as handle:
        reader = csv.reader(_decoded(handle, encodings), strict=True, **dialect)
        header: list[str] | None = None
        number = 0
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                big = "larger than field limit" in str(error)
                yield number, Bad("too big" if big else "broken row", str(error))
                continue
            if header is None:
                header = fields
            elif fields:
                number += 1
                if len(fields) != len(header):
                    yield number, Bad("broken row", f"{len(fields)} fields where the header has {len(header)}")
                else:
                    yield number, dict(zip(header, fields, strict=True))


def _tsv(path: Path, opener: Open, limit: int, encodings: Counter[str]) -> Rows:
    """The same with tabs between; quotation marks are text."""
    return _csv(path, opener, limit, encodings, delimiter="\t", quoting=csv.QUOTE_NONE)


def _decoded(handle: IO[bytes], encodings: Counter[str]) -> Iterator[str]:
    for number, line in enumerate(handle):
        text, encoding = decode(line)
        if encoding != "utf-8":
            encodings[encoding] += 1
        yield text.removeprefix("\ufeff") if number == 0 else text


def _parquet(path: Path, opener: Open, limit: int, encodings: Counter[str]) -> Rows:
    try:
        with pq.ParquetFile(path) as file:
            yield from _batches(file.iter_batches(batch_size=1024))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise BrokenFileError(str(error)) from error


def _arrow(path: Path, opener: Open, limit: int, encodings: Counter[str]) -> Rows:
    """Arrow's stream format, as `datasets` saves it, or its file format."""
    try:
        with pa.memory_map(str(path)) as source:
            try:
                batches = iter(pa.ipc.open_stream(source))
            except pa.ArrowInvalid:
                source.seek(0)
                file = pa.ipc.open_file(source)
                batches = (file.get_batch(k) for k in range(file.num_record_batches))
            yield from _batches(batches)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise BrokenFileError(str(error)) from error


def _hub(path: Path, opener: Open, limit: int, encodings: Counter[str]) -> Rows:
    """A dataset's split, whose spec the path is."""
    try:
        yield from enumerate(hub.rows(path.as_posix()), 1)
    except (OSError, EOFError):
        raise
    except Exception as error:  # `datasets` raises its own kinds, the hub's and the network's
        raise BrokenFileError(f"{type(error).__name__}: {error}") from error


def _batches(batches: Iterator[pa.RecordBatch]) -> Rows:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield number, row


READERS: dict[str, Callable[[Path, Open, int, Counter[str]], Rows]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "arrow": _arrow,
    "hub": _hub,
}
