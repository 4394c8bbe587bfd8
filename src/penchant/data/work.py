"""Pieces of work that are finished, each a table and a few facts on disk: what a run that was stopped goes on from."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from penchant.files import read_json, write_json, writing

__all__ = ["Work"]


class Work:
    """A folder of finished pieces; a folder that was made for something else is emptied.

    Args:
        folder: readable by its owner alone, as facts may hold what was masked.
        identity: of input and options; JSON.
    """

    def __init__(self, folder: Path, identity: Any):
        self.folder = folder
        told = folder / "identity.json"
        identity = json.loads(json.dumps(identity))
        if not told.is_file() or read_json(told, 1 << 32) != identity:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
            write_json(told, identity)

    def done(self, step: str, number: int) -> bool:
        """Whether a piece is finished."""
        return self._path(step, number, "json").is_file()

    def put(self, step: str, number: int, table: pa.Table, facts: dict[str, Any]) -> None:
        """Keep a piece; the facts are written last, and say that it is whole."""
        with writing(self._path(step, number, "arrow")) as handle, pa.ipc.new_file(handle, table.schema) as sink:
            sink.write_table(table.combine_chunks())
        with writing(self._path(step, number, "json"), "w") as handle:
            json.dump(facts, handle)

    def table(self, step: str, number: int) -> pa.Table:
        """A piece's table, from the disk as it is looked at."""
        with pa.memory_map(str(self._path(step, number, "arrow"))) as source:
            return pa.ipc.open_file(source).read_all()

    def facts(self, step: str, number: int) -> dict[str, Any]:
        """What `put` was told."""
        return dict(read_json(self._path(step, number, "json"), 1 << 32))

    def all_facts(self, step: str, count: int) -> Iterator[dict[str, Any]]:
        """Of pieces 0 to count - 1, one after another."""
        return (self.facts(step, number) for number in range(count))

    def remove(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def removed_on(self, *errors: type[BaseException]) -> Iterator[None]:
        """Throw everything away when the block ends by one of these errors; by others, it stays to go on from."""
        try:
            yield
        except errors:
            self.remove()
            raise

    def _path(self, step: str, number: int, ending: str) -> Path:
        return self.folder / f"{step}-{number:06}.{ending}"
