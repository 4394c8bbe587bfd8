"""Every failure that a user can meet, as one tree; each belongs to the boundary that was crossed.

PenchantError                 exit 1   something failed; the message says what and how to mend it
├── InputError                exit 2   a path, option, recipe, column or row is wrong
│   ├── OptionError           exit 2   an option is unknown or has the wrong type
│   └── RunLocked             exit 2   another process uses the run folder
├── MissingExtra              exit 3   an optional library is not installed
├── DataRejected              exit 4   data were read, and nothing (or too little) of them is usable
├── CorruptCheckpoint         exit 5   a checkpoint is incomplete, truncated or was changed
├── NotFinite                 exit 1   the loss or the gradient is not a finite number
├── DiskFull                  exit 1   a write failed because the disk is full
├── PeerLost                  exit 1   another process of the same stage has ended
├── StageFailed               exit n   a stage ended with this exit code, its own line was printed already
└── Stopped                   exit 130 / 143   stopped by Ctrl-C or SIGTERM, after saving
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CorruptCheckpoint",
    "DataRejected",
    "DiskFull",
    "InputError",
    "MissingExtra",
    "NotFinite",
    "OptionError",
    "PeerLost",
    "PenchantError",
    "RunLocked",
    "StageFailed",
    "Stopped",
]


class PenchantError(Exception):
    """A failure with one line for the user: `where: problem; mend`.

    Args:
        problem: what is wrong, in a clause without a full stop.
        mend: what the user can do about it.
        file: the file it concerns, if any.
        row: the row in that file, counted from 1, or None.
    """

    exit_code = 1

    def __init__(self, problem: str, mend: str = "", *, file: str | Path | None = None, row: int | None = None):
        self.problem, self.mend, self.file, self.row = problem, mend, file, row
        super().__init__(problem, mend)

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}: " if self.row is None else f"{self.file}, row {self.row}: "
        line = f"{place}{self.problem}" + (f"; {self.mend}" if self.mend else "")
        return " ".join(line.split())


class InputError(PenchantError):
    """A path, option, recipe, column or row is wrong."""

    exit_code = 2


class OptionError(InputError):
    """An option is unknown or has the wrong type."""


class RunLocked(InputError):
    """Another process is using the run folder."""


class MissingExtra(PenchantError):
    """An optional library is not installed."""

    exit_code = 3

    def __init__(self, what: str, extra: str):
        super().__init__(f'{what} needs: pip install "penchant[{extra}]"')


class DataRejected(PenchantError):
    """Data were read, but nothing or too little of them is usable."""

    exit_code = 4


class CorruptCheckpoint(PenchantError):
    """A checkpoint is incomplete, truncated, or differs from its manifest."""

    exit_code = 5


class NotFinite(PenchantError):
    """The loss or the gradient is not a finite number."""


class DiskFull(PenchantError):
    """A write failed because the disk is full; what stood before is untouched."""


class PeerLost(PenchantError):
    """Another of the processes that run a stage together has ended."""


class StageFailed(PenchantError):
    """A stage ended with an exit code; its own line has been printed already."""

    def __init__(self, stage: str, exit_code: int):
        super().__init__(f"stage {stage} failed")
        self.stage, self.exit_code = stage, exit_code


class Stopped(PenchantError):
    """Stopped by a signal after saving; `exit_code` is 128 + the signal's number."""

    def __init__(self, signal_number: int, mend: str = ""):
        super().__init__("stopped, state saved", mend)
        self.exit_code = 128 + signal_number
