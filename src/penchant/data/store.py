"""Documents in Parquet: source, text, ends, scores.NAME, then the user's own columns under their own names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.errors import InputError
from penchant.files import writing
from penchant.records import Document

__all__ = ["read_documents", "write_documents"]

_OWN = ("source", "text", "ends")
_SCORES = "scores."
# A user's column whose name is taken by ours is kept under this prefix, and comes back under its own name.
_USER = "columns."


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents whole or not at all.

    Raises:
        DiskFull: no space; what stood at `path` before still does.
    """
    columns: dict[str, pa.Array] = {
        "source": pa.array([d.source for d in documents], pa.string()),
        "text": pa.array([d.text for d in documents], pa.large_string()),
        "ends": pa.array([np.asarray(d.ends, dtype=np.int32) for d in documents], pa.list_(pa.int32())),
    }
    for name in sorted({name for d in documents for name in d.scores}):
        scores = [np.asarray(d.scores.get(name, ()), dtype=np.float32) for d in documents]
        columns[_SCORES + name] = pa.array(scores, pa.list_(pa.float32()))
    for name in dict.fromkeys(name for d in documents for name in d.columns):
        taken = name in _OWN or name.startswith((_SCORES, _USER))
        columns[_USER + name if taken else name] = _column([d.columns.get(name) for d in documents])
    with writing(path) as handle:
        pq.write_table(pa.table(columns), handle, compression="zstd")


def _column(values: Sequence[Any]) -> pa.Array:
    """Scalars as one column; where their types differ, each as JSON text."""
    values = [_whole(v) if isinstance(v, str) else v for v in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array(
            [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values], pa.string()
        )


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def read_documents(path: Path) -> list[Document]:
    """Read what `write_documents` wrote.

    Raises:
        InputError: missing, not Parquet, or without our columns.
    """
    if not path.is_file():
        raise InputError("no such file", "run `penchant prepare` first", file=path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a Parquet file ({error})", "run `penchant prepare` again", file=path) from error
    if missing := [name for name in _OWN if name not in table.column_names]:
        raise InputError(f"no column {missing[0]!r}", "give a file that `penchant prepare` wrote", file=path)
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
