"""Files -> pieces of a few thousand rows as Arrow tables, one after another: what one worker takes at a time.

Where a piece ends depends on the rows alone, not on who works: so the same input gives the same pieces again.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from penchant.data.files import Found
from penchant.data.read import Reject, Row, read_one
from penchant.data.split import position
from penchant.files import whole

__all__ = ["PIECE", "Piece", "pieces", "place_of", "reach", "rows_of", "table_of"]

PIECE, _ROWS = 2_000_000, 4_000  # characters, rows

_SCHEMA = pa.schema(
    [
        ("source", pa.string()), ("path", pa.string()), ("row", pa.int64()),
        ("text", pa.large_binary()), ("columns", pa.large_string()),
    ]
)  # fmt: skip


@dataclass
class Piece:
    """Rows that are next to one another, what was rejected among them, and what was not looked at."""

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    unseen: list[tuple[str, int | None]] = field(default_factory=list)
    characters: int = 0

    @property
    def full(self) -> bool:
        """Whether it is time to hand it over."""
        count = len(self.rows) + len(self.rejects) + len(self.unseen)
        return self.characters >= PIECE or count >= _ROWS


def pieces(found: Found, column: str, limit: int, encodings: Counter[str], within: float = 1.0) -> Iterator[Piece]:
    """All rows of files, in order.

    Args:
        found: the files.
        column: which holds the text.
        limit: bytes of a text.
        encodings: counts encodings other than UTF-8.
        within: rows whose `place_of` their source is beyond it are not looked at; whole files are not even opened.
    """
    piece = Piece()
    for source in found.sources:
        if source.kind == "text" and place_of(source.name) > within:
            piece.unseen.append((source.name, None))
        else:
            for item in read_one(source, column, limit, encodings):
                if isinstance(item, Reject):
                    piece.rejects.append(item)
                elif place_of(item.source) > within:
                    piece.unseen.append((item.source, item.row))
                else:
                    piece.rows.append(item)
                    piece.characters += len(item.text)
                if piece.full:
                    yield piece
                    piece = Piece()
        if piece.full:
            yield piece
            piece = Piece()
    if piece.rows or piece.rejects or piece.unseen:
        yield piece


def place_of(source: str) -> float:
    """Where a row falls when only some are taken: uniform in [0, 1), the same for ever."""
    return position(source, "sample")


def reach(found: Found, column: str, limit: int, most: int) -> float:
    """The place within which `most` rows fall; 1 where there are no more than that. Reads files of rows once."""
    places = array("d")
    for source in found.sources:
        if source.kind == "text":
            places.append(place_of(source.name))
        else:
            places.extend(place_of(item.source) for item in read_one(source, column, limit, Counter()))
    return 1.0 if len(places) <= most else float(np.partition(places, most - 1)[most - 1])


def table_of(rows: list[Row]) -> pa.Table:
    """Rows as an Arrow table (texts as bytes, since a text of JSON can hold half a character)."""
    return pa.table(
        [
            [whole(row.source) for row in rows],
            [whole(str(row.path)) for row in rows],
            [row.row for row in rows],
            [row.text.encode("utf-8", "surrogatepass") for row in rows],
            [json.dumps(dict(row.columns)) for row in rows],
        ],
        schema=_SCHEMA,
    )


def rows_of(table: pa.Table) -> Iterator[Row]:
    """The rows of `table_of`."""
    columns = [table[name].to_pylist() for name in _SCHEMA.names]
    for source, path, row, text, own in zip(*columns, strict=True):
        yield Row(source, text.decode("utf-8", "surrogatepass"), Path(path), row, json.loads(own))
