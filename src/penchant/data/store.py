"""Documents in Parquet: source, text, ends, scores.NAME, then the user's own columns under their own names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.errors import InputError
from penchant.files import whole, writing
from penchant.records import Document

__all__ = [
    *("Writer", "arrays", "column_types", "each_document", "note_types"),
    *("read_documents", "write_documents"),
]

_OWN = ("source", "text", "ends")
_SCORES = "scores."
# A user's column whose name is taken by ours is kept under this prefix, and comes back under its own name.
_USER = "columns."


class Writer:
    """A Parquet file of documents, written piece by piece.

    Args:
        handle: a file to write to.
        scores: names of the signals.
        types: of the user's columns, by name, in order; see `column_types`.
    """

    def __init__(self, handle: IO[bytes], scores: Sequence[str], types: Mapping[str, pa.DataType]):
        self.scores, self.types = tuple(scores), dict(types)
        fields: list[tuple[str, pa.DataType]] = [
            ("source", pa.string()), ("text", pa.large_string()), ("ends", pa.list_(pa.int32())),
        ]  # fmt: skip
        fields += [(_SCORES + name, pa.list_(pa.float32())) for name in self.scores]
        fields += [(_stored(name), kind) for name, kind in self.types.items()]
        self._file = pq.ParquetWriter(handle, pa.schema(fields), compression="zstd")

    def write(self, own: Mapping[str, pa.Array], columns: Sequence[Mapping[str, Any]]) -> None:
        """Add documents: arrays `source`, `text`, `ends`, `scores.NAME`, and each document's own columns."""
        arrays = [own[field.name] for field in self._file.schema if field.name not in map(_stored, self.types)]
        arrays += [_column([row.get(name) for row in columns], kind) for name, kind in self.types.items()]
        self._file.write_table(pa.table(arrays, schema=self._file.schema))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the end of the file; what cannot be closed was not written, and is thrown away by who opened it."""
        self._file.close()


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents whole or not at all.

    Raises:
        DiskFull: no space; what stood at `path` before still does.
    """
    scores = sorted({name for d in documents for name in d.scores})
    seen: dict[str, set[str]] = {}
    for document in documents:
        note_types(document.columns, seen)
    with writing(path) as handle, Writer(handle, scores, column_types(seen)) as writer:
        writer.write(arrays(documents, scores), [d.columns for d in documents])


def arrays(documents: Sequence[Document], scores: Sequence[str]) -> dict[str, pa.Array]:
    """What `Writer.write` wants of documents, their own columns aside."""
    made: dict[str, pa.Array] = {
        "source": pa.array([whole(d.source) for d in documents], pa.string()),
        "text": pa.array([d.text for d in documents], pa.large_string()),
        "ends": pa.array([np.asarray(d.ends, dtype=np.int32) for d in documents], pa.list_(pa.int32())),
    }
    for name in scores:
        values = [np.asarray(d.scores.get(name, ()), dtype=np.float32) for d in documents]
        made[_SCORES + name] = pa.array(values, pa.list_(pa.float32()))
    return made


def note_types(columns: Mapping[str, Any], seen: dict[str, set[str]]) -> None:
    """Note which types each column has: none, `bool`, `int`, `float`, `str`, or `big` (an int of over 64 bits)."""
    for name, value in columns.items():
        kinds = seen.setdefault(name, set())
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
            kinds.add("big")
        elif value is not None:
            kinds.add(type(value).__name__)


def column_types(seen: Mapping[str, Collection[str]]) -> dict[str, pa.DataType]:
    """Scalars as one type; where types differ (whole and broken numbers aside), a text: each as JSON."""
    types = {}
    for name, kinds in seen.items():
        one = next(iter(kinds)) if len(kinds) == 1 else "float" if set(kinds) == {"int", "float"} else None
        types[name] = pa.null() if not kinds else _TYPES.get(one or "", pa.string())
    return types


_TYPES = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}


def _stored(name: str) -> str:
    return _USER + name if name in _OWN or name.startswith((_SCORES, _USER)) else name


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        values = [v if v is None else whole(v) if isinstance(v, str) else json.dumps(v) for v in values]
    elif kind == pa.float64():
        values = [None if v is None else float(v) for v in values]
    return pa.array(values, kind)


def read_documents(path: Path) -> list[Document]:
    """Read what `write_documents` wrote.

    Raises:
        InputError: missing, not Parquet, or without our columns.
    """
    return list(each_document(path))


def each_document(path: Path) -> Iterator[Document]:
    """The same one after another; in memory are as many as were written at once.

    Raises:
        InputError: as `read_documents` does.
    """
    if not path.is_file():
        raise InputError("no such file", "run `penchant prepare` first", file=path)
    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in _OWN if name not in file.schema_arrow.names]:
                raise InputError(f"no column {missing[0]!r}", "give a file that `penchant prepare` wrote", file=path)
            for k in range(file.num_row_groups):
                yield from _documents(file.read_row_group(k))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a Parquet file ({error})", "run `penchant prepare` again", file=path) from error


def _documents(table: pa.Table) -> list[Document]:
    names = [n for n in table.column_names if n.startswith(_SCORES)]
    scores = [table[n].to_pylist() for n in names]
    others = [n for n in table.column_names if n not in _OWN and not n.startswith(_SCORES)]
    columns = [table[n].to_pylist() for n in others]
    keys = [n.removeprefix(_USER) for n in others]
    return [
        Document(
            source,
            text,
            tuple(ends),
            {n.removeprefix(_SCORES): tuple(s[k]) for n, s in zip(names, scores, strict=True)},
            {key: column[k] for key, column in zip(keys, columns, strict=True)},
        )
        for k, (source, text, ends) in enumerate(
            zip(table["source"].to_pylist(), table["text"].to_pylist(), table["ends"].to_pylist(), strict=True)
        )
    ]
