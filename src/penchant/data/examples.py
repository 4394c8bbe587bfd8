"""Rows in TRL's formats: read from files, kept in Parquet, read again."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from penchant.data import tables
from penchant.data.convert import UnusableError, convert
from penchant.data.files import find
from penchant.errors import InputError
from penchant.files import writing
from penchant.records import Example

__all__ = ["Rows", "is_examples", "peek", "raw_rows", "read_examples", "read_rows", "write_examples"]

LIMIT = 10_000_000  # bytes of a row


@dataclass
class Rows:
    """What was read.

    Attributes:
        examples: usable rows, converted.
        formats: how many rows are of which format.
        rejects: rows that cannot be used: source, row, cause, detail.
    """

    examples: list[Example] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, Any]] = field(default_factory=list)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def raw_rows(path: str | Sequence[str]) -> Iterator[tuple[str, Path, int, Any]]:
    """(file's name, path, row from 1, columns or Bad) of every row."""
    for source in find(path).sources:
        if source.kind == "text":
            mend = "give .jsonl, .csv, .parquet or a saved Hugging Face dataset"
            raise InputError("holds a text, not rows", mend, file=source.path)
        try:
            for number, row in tables.READERS[source.kind](source.path, _open, LIMIT, Counter()):
                yield source.name, source.path, number, row
        except (OSError, EOFError, tables.BrokenFileError) as error:
            raise InputError(f"cannot be read ({error})", "check that the file is whole", file=source.path) from error


def read_rows(path: str | Sequence[str], prepare: Any = None) -> Rows:
    """Read and convert every row under a path.

    Args:
        prepare: columns -> columns, before a row is converted (renaming, templates).

    Raises:
        InputError: a path does not exist, or a file holds no rows.
    """
    found = Rows()
    for name, _, number, row in raw_rows(path):
        source = f"{name}#{number}"
        try:
            if isinstance(row, tables.Bad):
                raise UnusableError(row.cause, row.detail)
            kind, columns = convert(row if prepare is None else prepare(row))
        except UnusableError as error:
            reject = {"source": source, "row": number, "cause": error.cause, "detail": error.detail}
            found.rejects.append(reject)
            continue
        found.formats[kind] += 1
        found.examples.append(Example(source, columns))
    return found


def peek(path: str) -> str | None:
    """The format of a file's first row that has one; None where it holds no such rows, or plain text.

    A row that has the columns of a format and cannot be used (equal answers, an empty prompt) has `unusable`.
    """
    try:
        for count, (_, _, _, row) in enumerate(raw_rows(path)):
            if count == 20:
                return None
            if not isinstance(row, tables.Bad):
                kind, _ = convert(row)
                return None if kind == "language_modeling" else kind
    except InputError:
        return None
    except UnusableError as error:
        return None if error.cause == "missing column" else "unusable"
    return None


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write rows whole or not at all; each row's columns as JSON, so that any shape survives."""
    rows = {
        "source": [example.source for example in examples],
        "columns": [json.dumps(dict(example.columns), ensure_ascii=True, default=str) for example in examples],
    }
    with writing(path) as handle:
        pq.write_table(pa.table(rows), handle, compression="zstd")


def read_examples(path: Path) -> list[Example]:
    """What `write_examples` wrote.

    Raises:
        InputError: missing, or another kind of file.
    """
    if not path.is_file():
        raise InputError("no such file", "give a file of rows, or a folder that the stage `examples` wrote", file=path)
    try:
        table = pq.read_table(path, columns=["source", "columns"]).to_pydict()
    except (pa.ArrowException, OSError) as error:
        mend = "give a folder that the stage `examples` wrote"
        raise InputError(f"does not hold rows ({error})", mend, file=path) from error
    return [Example(s, json.loads(c)) for s, c in zip(table["source"], table["columns"], strict=True)]


def is_examples(summary: Mapping[str, Any]) -> bool:
    """Whether a folder's summary says that it holds rows, not documents."""
    return summary.get("kind") == "examples"
