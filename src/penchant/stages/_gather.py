"""What only all pieces together can tell `prepare`: which documents repeat others, which stay, which part is whose.

Of each document a digest and a few numbers are in memory (under 200 bytes); texts and sketches stay on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penchant.data.deduplicate import PERMUTATIONS, repeats
from penchant.data.files import kind_of
from penchant.data.parallel import Workers
from penchant.data.pieces import place_of
from penchant.data.split import NAMES, part_of, position, split_places
from penchant.data.threads import roots
from penchant.data.work import Work
from penchant.errors import InputError
from penchant.stages._select import EXAMPLES, Found

if TYPE_CHECKING:
    from penchant.stages.prepare import Options

__all__ = ["CLEANED", "Gathered"]

CLEANED = "cleaned"
_PAIRS = 512  # compared by one call
_STAYS, _BEYOND = -1, -2


class Gathered:
    """The documents of all cleaned pieces, numbered in order.

    Args:
        work: where the pieces lie.
        count: pieces.
        options: the stage's.

    Attributes:
        starts: int64 [pieces + 1], the number of each piece's first document.
        of: int64 [n]; -1 where a document stays, -2 beyond `max_documents`, else the document that it repeats.
        similarity: float32 [n], to that one.
    """

    def __init__(self, work: Work, count: int, options: Options):
        self.work, self.count, self.options = work, count, options
        self.table = functools.lru_cache(64)(functools.partial(work.table, CLEANED))
        self.starts = np.cumsum([0, *(self.table(k).num_rows for k in range(count))])
        self.of = np.full(self.starts[-1], _STAYS, np.int64)
        self.similarity = np.ones(self.starts[-1], np.float32)

    @property
    def stays(self) -> np.ndarray:
        """bool [n]."""
        return self.of == _STAYS

    def deduplicate(self, workers: Workers, progress: Callable[[int, int], None]) -> None:
        """Drop what repeats an earlier document; near duplicates are compared by the workers.

        Args:
            progress: told how many pairs of how many are compared; may raise to stop.
        """
        if not len(self.of):
            return
        digests = np.concatenate([self._fixed("digest", k).view("S16")[:, 0] for k in range(self.count)])
        worded = np.concatenate([_valid(self.table(k)["sketch"]) for k in range(self.count)])
        compared = functools.partial(self._compared, workers, progress)
        for one in repeats(digests, worded, self._sketches, compared, self.options.near_duplicates):
            self.of[one.index], self.similarity[one.index] = one.of, one.similarity

    def limit(self) -> None:
        """Keep `max_documents` of those that stay, chosen by a hash of their rows' sources."""
        stays, most = np.flatnonzero(self.stays), self.options.max_documents
        if most is None or len(stays) <= most:
            return
        places = np.array([place_of(source) for source in self.values("source", stays)])
        self.of[stays[np.argsort(places, kind="stable")[most:]]] = _BEYOND

    def threads(self) -> dict[str, str]:
        """Row's source -> the root of its thread.

        Raises:
            InputError: no row has an id.
        """
        if self.options.reply_column is None:
            return {}
        replies = [reply for facts in self.work.all_facts(CLEANED, self.count) for reply in facts["replies"]]
        found = roots({one: above for _, one, above in replies}, [one for _, one, _ in replies])
        return {source: root for (source, _, _), root in zip(replies, found, strict=True)}

    def check_columns(self) -> None:
        """Stop where no row has a column that an option names.

        Raises:
            InputError: names the columns that are there.
        """
        there: dict[str, bool] = {}
        for facts in self.work.all_facts(CLEANED, self.count):
            for name, filled in facts["columns"].items():
                there[name] = there.get(name, False) or filled
        options = self.options
        asked = {"data.group_column": options.group_column, "data.reply_column": options.reply_column}
        if options.reply_column is not None:
            asked["data.id_column"] = options.id_column
        for option, column in asked.items():
            if column is not None and not there.get(column):
                paths = [path for k in range(self.count) for path in self.table(k)["path"].to_pylist()[:1]]
                mend = f"the columns are {', '.join(there) or 'none'}; name one with {option}"
                raise InputError(f"no row has the column {column!r}", mend, file=paths[0] if paths else None)

    def parts(self, threads: dict[str, str], note: Callable[[str], None]) -> tuple[np.ndarray, bool]:
        """The part of each document that stays, as numbers into `NAMES` (uint8 [n]), and whether the data's own.

        Raises:
            InputError: `splits=keep`, and a file names no part, or a part has no file.
            DataRejected: too few groups.
        """
        stays = np.flatnonzero(self.stays)
        parts = np.zeros(len(self.of), np.uint8)
        own = self._own_parts(stays, note)
        if own is not None:
            parts[stays] = own
            return parts, True
        keys = self._keys(stays, threads)
        parts[stays] = split_places(np.array([position(key) for key in keys]), self.options.fractions)
        return parts, False

    def dropped(self, found: Found) -> Iterator[dict[str, Any]]:
        """`source`, `row`, `cause`, `detail` of all rows that were dropped, rules first; shows examples of repeats."""
        for facts in self.work.all_facts(CLEANED, self.count):
            yield from facts["drops"]
        for index in np.flatnonzero(self.of >= 0):
            detail = f"of {self._row(int(self.of[index]), 'source')}, similarity {self.similarity[index]:.2f}"
            cause = "exact duplicate" if self._is_exact(int(index)) else "near duplicate"
            yield self._drop(int(index), cause, detail, found)
        for index in np.flatnonzero(self.of == _BEYOND):
            detail = f"data.max_documents is {self.options.max_documents}"
            yield self._drop(int(index), "beyond max_documents", detail, found)

    def values(self, column: str, indices: np.ndarray) -> Iterator[Any]:
        """A column's values at rising indices, piece by piece."""
        for k, places in self._by_piece(indices):
            yield from self.table(k)[column].take(pa.array(indices[places] - self.starts[k])).to_pylist()

    def _by_piece(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Each piece that holds some of these documents, and where in `indices` they stand."""
        pieces = np.searchsorted(self.starts, indices, side="right") - 1
        order = np.argsort(pieces, kind="stable")
        own, begins = np.unique(pieces[order], return_index=True)
        yield from zip(own.tolist(), np.split(order, begins[1:]), strict=True)

    def _own_parts(self, stays: np.ndarray, note: Callable[[str], None]) -> np.ndarray | None:
        """By the name of each document's file, or None where the hash decides.

        Left to itself, only for files of rows (a folder `test` among sources is code, not a part), and only if every
        file names its part and all three are there.
        """
        options = self.options
        if options.splits == "hash":
            return None
        named: dict[tuple[str, str], str | None] = {}
        codes = np.zeros(len(stays), np.uint8)
        for k, (source, path) in enumerate(zip(self.values("source", stays), self.values("path", stays), strict=True)):
            file = (source.partition("#")[0], path)
            part = named[file] if file in named else named.setdefault(file, part_of(file[0]))
            codes[k] = 0 if part is None else NAMES.index(part)
        unnamed = next((path for (_, path), part in named.items() if part is None), None)
        missing = [name for name in NAMES if name not in named.values()]
        if options.splits is None:
            if unnamed or any(kind_of(Path(path)) == "text" for _, path in named):
                return None
            if missing:
                note(f"no file is named {' or '.join(missing)}: rows of all files are split anew, by a hash")
                return None
            note("the dataset's own train, validation and test are kept; data.splits=hash splits anew")
        elif missing or unnamed:
            problem = f"no usable row in a file named {missing[0]}" if missing else "the file's name says no part"
            mend = "name files or folders train, validation and test, or set data.splits=hash"
            raise InputError(problem, mend, file=str(options.path) if missing else unnamed)
        return codes

    def _keys(self, stays: np.ndarray, threads: dict[str, str]) -> Iterator[str]:
        """What each document is kept together by: its group, its thread, or its source."""
        sources, groups = self.values("source", stays), self.values("group", stays)
        for source, group in zip(sources, groups, strict=True):
            if self.options.group_column is not None:
                yield source if group is None else group
            else:
                yield threads.get(source, source)

    def _compared(
        self, workers: Workers, progress: Callable[[int, int], None], pairs: np.ndarray
    ) -> Iterator[tuple[int, int, float]]:
        blocks = [pairs[k : k + _PAIRS] for k in range(0, len(pairs), _PAIRS)]
        results = workers.each("similar", (self._texts(block) for block in blocks))
        for k, (block, found) in enumerate(zip(blocks, results, strict=True)):
            progress(k, len(blocks))
            yield from ((i, j, s) for (i, j), s in zip(block.tolist(), found, strict=True))

    def _texts(self, block: np.ndarray) -> tuple[list[str], np.ndarray]:
        ids, which = np.unique(block, return_inverse=True)
        return list(self.values("text", ids)), which.reshape(block.shape)

    def _sketches(self, ids: np.ndarray, part: slice) -> np.ndarray:
        """Columns of the sketches of documents in any order, uint32 [n, columns]."""
        out = np.zeros((len(ids), len(range(PERMUTATIONS)[part])), np.uint32)
        for k, places in self._by_piece(ids):
            out[places] = self._fixed("sketch", k).view(np.uint32)[ids[places] - self.starts[k], part]
        return out

    def _fixed(self, column: str, k: int) -> np.ndarray:
        """A column of as many bytes each as uint8 [rows, bytes], not copied."""
        table = self.table(k)
        array = table[column].combine_chunks()
        width = table.schema.field(column).type.byte_width
        if not table.num_rows:
            return np.zeros((0, width), np.uint8)
        return np.frombuffer(array.buffers()[1], np.uint8).reshape(-1, width)[array.offset : array.offset + len(array)]

    def _is_exact(self, index: int) -> bool:
        return bool(self._row(index, "digest") == self._row(int(self.of[index]), "digest"))

    def _row(self, index: int, column: str) -> Any:
        k = int(np.searchsorted(self.starts, index, side="right") - 1)
        return self.table(k)[column][index - self.starts[k]].as_py()

    def _drop(self, index: int, cause: str, detail: str, found: Found) -> dict[str, Any]:
        source, row = self._row(index, "source"), self._row(index, "row")
        if len(found.examples.get(cause, ())) < EXAMPLES:
            found.show(cause, source, detail, self._row(index, "text"))
        return {"source": source, "row": row, "cause": cause, "detail": detail}


def _valid(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.is_valid().to_numpy(), bool)
