"""Tokenized documents in flat files that are mapped into memory, and the windows that training takes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, overload

import numpy as np

from penchant.files import disk_errors, read_json, write_json
from penchant.records import Encoded

__all__ = ["Shards", "Windows"]

_TOLD = "shards.json"


class _Views(Sequence[Encoded]):
    """What `one(at)` gives for each place, and slices of that; nothing is copied."""

    def one(self, at: int) -> Encoded:
        """The entry at a place from 0 on."""
        raise NotImplementedError

    @overload
    def __getitem__(self, at: int) -> Encoded: ...
    @overload
    def __getitem__(self, at: slice) -> list[Encoded]: ...
    def __getitem__(self, at: int | slice) -> Encoded | list[Encoded]:
        if isinstance(at, slice):
            return [self.one(k) for k in range(*at.indices(len(self)))]
        return self.one(range(len(self))[at])


class Shards(_Views):
    """Documents as `write` left them: what is looked at is read, and memory does not grow with the corpus.

    Args:
        folder: `ids.bin` (int32), `control.bin` (bool), one file for each column, `ends.bin` (int64, of documents).

    Raises:
        InputError: the folder is not finished.
    """

    def __init__(self, folder: Path):
        told = read_json(folder / _TOLD)
        self.tokens, self.read = int(told["tokens"]), int(told["read"])

        def mapped(name: str, dtype: str, count: int) -> np.ndarray:
            return np.memmap(folder / f"{name}.bin", dtype, "r", shape=(count,)) if count else np.zeros(0, dtype)

        self.ends = mapped("ends", "int64", told["documents"])
        self.ids, self.control = mapped("ids", "int32", self.tokens), mapped("control", "bool", self.tokens)
        self.columns = {name: mapped(f"column-{name}", kind, self.tokens) for name, kind in told["columns"].items()}

    @classmethod
    def made(cls, folder: Path, documents: Iterable[Encoded | None]) -> Shards:
        """Write documents, unless the folder is finished; None is one that is left out.

        Raises:
            DiskFull: no space.
        """
        if not (folder / _TOLD).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with disk_errors(folder):
                write_json(folder / _TOLD, _written(folder, documents))
        return cls(folder)

    def __len__(self) -> int:
        return len(self.ends)

    def one(self, at: int) -> Encoded:
        """One document."""
        span = slice(int(self.ends[at - 1]) if at else 0, int(self.ends[at]))
        return _part(self, span)


def _written(folder: Path, documents: Iterable[Encoded | None]) -> dict[str, object]:
    kinds: dict[str, str] = {}
    kept, read, tokens = 0, 0, 0
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}

        def append(name: str, values: np.ndarray) -> None:
            if name not in files:
                files[name] = stack.enter_context(open(folder / f"{name}.bin", "wb"))
            values.tofile(files[name])

        for one in documents:
            read += 1
            if one is None:
                continue
            kept, tokens = kept + 1, tokens + len(one.ids)
            append("ids", one.ids.astype(np.int32))
            append("control", one.control.astype(bool))
            append("ends", np.array([tokens], np.int64))
            for name, values in one.columns.items():
                append(f"column-{name}", values.astype(kinds.setdefault(name, values.dtype.str)))
    return {"documents": kept, "read": read, "tokens": tokens, "columns": kinds}


class Windows(_Views):
    """All windows of documents, at most `context` inputs long, with at least one label each.

    Neighbours share one token, so that every token but a document's first is a label in exactly one window.

    Attributes:
        counts: int64 [windows], labels of each (control tokens are none).
    """

    def __init__(self, documents: Sequence[Encoded], context: int):
        self.documents, self.context = documents, context
        found = [np.zeros((3, 0), np.int64), *self._of_each(documents)]
        self.which, self.start, self.counts = np.concatenate(found, axis=1)

    def _of_each(self, documents: Sequence[Encoded]) -> Iterator[np.ndarray]:
        for number, document in enumerate(documents):
            starts = np.arange(0, len(document.ids) - 1, self.context)
            if len(starts):
                counts = np.add.reduceat(~document.control[1:], starts, dtype=np.int64)
                yield np.stack([np.full(len(starts), number), starts, counts])[:, counts > 0]

    def __len__(self) -> int:
        return len(self.which)

    def one(self, at: int) -> Encoded:
        """One window."""
        start = int(self.start[at])
        return _part(self.documents[int(self.which[at])], slice(start, start + self.context + 1))


def _part(of: Shards | Encoded, span: slice) -> Encoded:
    return Encoded(of.ids[span], of.control[span], {name: values[span] for name, values in of.columns.items()})
