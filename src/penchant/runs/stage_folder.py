"""One stage's place in a run folder: its finished result, and the attempt that is to become or to replace it.

RUN/stages/STAGE/      what the stage wrote; `attempt.json` while it is at work, `done.json` when it is finished
RUN/stages/STAGE.new/  an attempt that is to replace a finished result, which stands until this one is finished
RUN/stages/STAGE.old/  the replaced result, only while the two change places
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penchant.errors import InputError
from penchant.files import read_json, sync, write_json

__all__ = ["Span", "StageFolder", "json_or_none", "swap"]

Span = tuple[float, float]

_DONE, _ATTEMPT = "done.json", "attempt.json"


@dataclass(frozen=True)
class StageFolder:
    """The folders of one stage; whoever changes them holds the run's lock.

    Attributes:
        path: RUN/stages/STAGE.
    """

    path: Path

    @property
    def attempt(self) -> Path:
        """Where an attempt works: in place, or beside a finished result until it can replace it."""
        return self._new if (self.path / _DONE).exists() else self.path

    def done(self) -> dict[str, Any] | None:
        """What the finished stage left, or None."""
        return json_or_none(self.path / _DONE)

    def made(self) -> int:
        """How many times the stage has been finished here."""
        return int((self.done() or {}).get("made", 0))

    def attempted(self, fingerprint: str) -> bool:
        """Whether an attempt with this fingerprint stands there to go on with."""
        return (json_or_none(self.attempt / _ATTEMPT) or {}).get("fingerprint") == fingerprint

    def settle(self) -> None:
        """Finish what a kill cut short: an attempt that was finished takes its place."""
        if (self._new / _DONE).exists():
            (self._new / _ATTEMPT).unlink(missing_ok=True)
            swap(self._new, self.path)
        if (self.path / _DONE).exists():
            (self.path / _ATTEMPT).unlink(missing_ok=True)
            shutil.rmtree(self._old, ignore_errors=True)

    def begin(self, fingerprint: str) -> list[Span]:
        """Make ready the folder of an attempt; the spans of time that earlier ones took, where it goes on with them."""
        folder = self.attempt
        if self.attempted(fingerprint):
            for leftover in folder.rglob(".*.tmp"):  # of a write that was killed; nobody else is at work here
                leftover.unlink(missing_ok=True)
            return [tuple(span) for span in (json_or_none(folder / _ATTEMPT) or {}).get("spans", [])]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.mark(fingerprint, [])
        return []

    def mark(self, fingerprint: str, spans: Iterable[Span]) -> None:
        """Write down that an attempt is at work, and when it has been."""
        write_json(self.attempt / _ATTEMPT, {"fingerprint": fingerprint, "spans": [list(span) for span in spans]})

    def finish(self, kind: str, fingerprint: str, summary: Any, spans: list[Span]) -> None:
        """Declare the attempt finished: `done.json` is the last thing written; then it takes its place."""
        done = {
            "fingerprint": fingerprint,
            "kind": kind,
            "made": self.made() + 1,
            "summary": summary,
            "seconds": round(sum(end - begin for begin, end in spans), 3),
            "spans": [list(span) for span in spans],
        }
        write_json(self.attempt / _DONE, done)
        self.settle()

    def discard(self) -> None:
        """Forget an unfinished attempt; a finished result stays."""
        (self.attempt / _ATTEMPT).unlink(missing_ok=True)
        shutil.rmtree(self.attempt, ignore_errors=True)

    @property
    def _new(self) -> Path:
        return self.path.with_name(f"{self.path.name}.new")

    @property
    def _old(self) -> Path:
        return self.path.with_name(f"{self.path.name}.old")


def swap(new: Path, target: Path) -> None:
    """Put the whole folder `new` in the place of `target`; after a kill in between, the same call goes on."""
    old = target.with_name(f"{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    os.rename(new, target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def json_or_none(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, or None where there is none."""
    with contextlib.suppress(InputError, OSError):
        value = read_json(path)
        return value if isinstance(value, dict) else None
    return None
