"""What a worker of `prepare` does with a piece: clean its rows, compare texts, score documents. Arrow in, Arrow out."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penchant.data.annotate import score
from penchant.data.deduplicate import SKETCH_BYTES, digest, similarities, sketches
from penchant.data.language import guess_language
from penchant.data.pieces import rows_of
from penchant.data.read import Row
from penchant.data.store import arrays, note_types
from penchant.records import Document
from penchant.stages._select import Cleaner, Found
from penchant.stages._signals import build_signals
from penchant.text.segment import LANGUAGES, segment_ends

if TYPE_CHECKING:
    from penchant.stages.prepare import Options

__all__ = ["ROW", "THREAD", "Steps"]

ROW = "row_source"  # where the row stood, for data that are grouped by a column
THREAD = "thread"


class Steps:
    """The steps of one stage; made once in each process, so `options` must survive pickling.

    Args:
        options: the stage's.
        seed: the run's.
    """

    def __init__(self, options: Options, seed: int):
        self.options = options
        self.signals = build_signals(tuple(json.dumps(spec) for spec in options.signals), seed)
        self.cleaner = Cleaner(options)

    def clean(self, rows: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """A piece's rows -> those that stay, with digests and sketches; and what was found on the way.

        Args:
            rows: as `data.pieces.table_of` makes them.

        Returns:
            A table `source`, `path`, `row`, `text`, `columns` (JSON), `group`, `language`, `digest`, `sketch`; facts.
        """
        found, looked_at = Found(find=self.cleaner.find), list(rows_of(rows))
        kept = list(self.cleaner.texts(looked_at, found))
        texts = [text for _, text in kept]
        near = self.options.near_duplicates is not None
        table = pa.table(
            {
                "source": pa.array([row.source for row, _ in kept], pa.string()),
                "path": pa.array([str(row.path) for row, _ in kept], pa.string()),
                "row": pa.array([row.row for row, _ in kept], pa.int64()),
                "text": pa.array(texts, pa.large_string()),
                "columns": pa.array([json.dumps(dict(row.columns)) for row, _ in kept], pa.large_string()),
                "group": pa.array([self._group(row) for row, _ in kept], pa.string()),
                "language": pa.array([self._language(row, text) for row, text in kept], pa.string()),
                "digest": pa.array(map(digest, texts), pa.binary(16)),
                "sketch": pa.array(sketches(texts) if near else [None] * len(kept), pa.binary(SKETCH_BYTES)),
            }
        )
        return table, {
            "drops": found.drops,
            "changed": dict(found.changed),
            "examples": found.examples,
            "masks": found.masks,
            "columns": _there(looked_at),
            "replies": self._replies(looked_at),
        }

    def similar(self, texts: list[str], pairs: np.ndarray) -> list[float]:
        """Similarities of pairs of texts, see `data.deduplicate.similarities`."""
        return similarities(texts, pairs)

    def score(self, table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
        """Documents that stay -> cut into segments, each scored by every signal.

        Args:
            table: `source`, `text`, `columns`, `group`, `language`, `thread`, `part`.

        Returns:
            A table `source`, `text`, `ends`, `scores.NAME`, `columns` (JSON), `part`; facts: least and greatest score
            of each signal, segments without text, languages, types of the columns.
        """
        columns = [json.loads(text) for text in table["columns"].to_pylist()]
        rows = zip(*(table[n].to_pylist() for n in ("source", "text", "language", "group", "thread")), columns,
                   strict=True)  # fmt: skip
        documents = score([self._document(*row) for row in rows], self.signals)
        made = arrays(documents, list(self.signals))
        made["columns"] = pa.array([json.dumps(dict(d.columns)) for d in documents], pa.large_string())
        made["part"] = table["part"].combine_chunks()
        types: dict[str, set[str]] = {}
        for document in documents:
            note_types(document.columns, types)
        values = {name: [v for d in documents for v in d.scores[name]] for name in self.signals}
        return pa.table(made), {
            "between": {name: [min(all_), max(all_)] for name, all_ in values.items() if all_},
            "empty": sum(not piece.strip() for d in documents for piece in d.segments()),
            "languages": Counter(table["language"].to_pylist()),
            "types": {name: sorted(kinds) for name, kinds in types.items()},
        }

    def _language(self, row: Row, text: str) -> str:
        return self.options.language or guess_language(text, row.source)

    def _group(self, row: Row) -> str | None:
        value = row.columns.get(self.options.group_column) if self.options.group_column else None
        return None if value is None else str(value)

    def _replies(self, rows: list[Row]) -> list[tuple[str, str, str | None]]:
        """Source, id and the id replied to, of rows that have an id; also those dropped since tie others together."""
        if self.options.reply_column is None:
            return []
        named = [row for row in rows if row.columns.get(self.options.id_column) not in (None, "")]
        above = [row.columns.get(self.options.reply_column) for row in named]
        return [
            (row.source, str(row.columns[self.options.id_column]), None if up in (None, "") else str(up))
            for row, up in zip(named, above, strict=True)
        ]

    def _document(
        self, source: str, text: str, language: str, group: str | None, thread: str | None, columns: dict[str, Any]
    ) -> Document:
        """A document whose source is its group: what the split keeps together, and what intervals cluster by."""
        rules = language if language in LANGUAGES else "en"
        ends = segment_ends(text, self.options.segment, rules)
        if thread is not None:
            columns = {**columns, THREAD: thread}
        if self.options.group_column is None and thread is None:
            return Document(source, text, ends, {}, columns)
        of = group if self.options.group_column else thread
        return Document(source if of is None else of, text, ends, {}, {**columns, ROW: source})


def _there(rows: list[Row]) -> dict[str, bool]:
    """The columns that rows have, and whether any row has a value in it."""
    there: dict[str, bool] = {}
    for row in rows:
        for name, value in row.columns.items():
            there[name] = there.get(name, False) or value is not None
    return there
