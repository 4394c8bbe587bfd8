"""The process of one stage: `python -m penchant.runs.child`, its spec on stdin, events as JSON lines on stdout.

Stdin stays open for as long as the parent lives; when it closes, this process ends at once. So a killed run leaves
nobody behind that still writes into its folder.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from penchant import console, registry
from penchant.contracts import StageContext
from penchant.errors import DiskFull, PenchantError, Stopped
from penchant.files import sync
from penchant.runtime.launch import place

__all__ = ["main", "run_stage"]


def main() -> None:
    """Run the stage that the parent's first line describes."""
    _die_with_parent()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the events
    sys.stdout = sys.stderr
    spec = json.loads(sys.stdin.readline())
    threading.Thread(target=_watch_parent, daemon=True).start()
    for handle in spec.get("keep", ()):
        os.set_inheritable(handle, False)  # the run's lock: ours to hold, not our helpers'
    console.attach(events, spec["stage"])
    stopping = Stopping()
    stopping.install()
    code = run_stage(spec, stopping.asked, Path(spec["log"]))
    if place().ranks > 1:  # the threads of a process group can abort an interpreter that takes itself down beside them
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run_stage(spec: dict[str, Any], stop: Callable[[], int], log: Path) -> int:
    """Run one stage and tell the parent how it ended; the exit code."""
    try:
        module = registry.load("stages", spec["module"])
        context = StageContext(
            name=spec["stage"],
            folder=Path(spec["folder"]),
            inputs={role: Path(folder) for role, folder in spec["inputs"].items()},
            seed=spec["seed"],
            threads=spec["threads"],
            stop=stop,
            note=console.note,
        )
        summary = module.run(module.Options.model_validate(spec["options"]), context)
        if place().first:
            for file in sorted(context.folder.rglob("*")):
                sync(file)
        json.dumps(summary, allow_nan=False)
    except Stopped as stopped:
        return stopped.exit_code
    except PenchantError as error:
        return _failed(str(error), error.exit_code, expected=True, kind=type(error).__name__)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = DiskFull("the disk is full", "free some space and run the same command again", file=error.filename)
            return _failed(str(full), full.exit_code, expected=True)
        return _failed(f"{type(error).__name__}: {error}; the traceback is in {log}", 1)
    except MemoryError:
        return _failed("out of memory; take a smaller batch or model, or close other programs", 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _failed(f"{type(error).__name__}: {error}; the traceback is in {log}", 1)
    console.emit("result", summary=summary)
    return 0


def _failed(line: str, code: int, expected: bool = False, kind: str = "") -> int:
    if not expected or os.environ.get("PENCHANT_DEBUG"):
        traceback.print_exc()
    console.emit("error", line=" ".join(line.split()), exit_code=code, expected=expected, kind=kind)
    return code


class Stopping:
    """Ctrl-C and SIGTERM: a stage that looks between steps is told then; one that does not is interrupted."""

    def __init__(self) -> None:
        self.signal, self.looked = 0, False

    def install(self) -> None:
        """Take over both signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def asked(self) -> int:
        """The signal that asked to stop, or 0."""
        self.looked = True
        return self.signal

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        if not self.looked:
            raise Stopped(number)


def _watch_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(1)


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent: faster than the pipe, which also works elsewhere."""
    if sys.platform != "linux":
        return
    import ctypes

    parent_death = 1  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(parent_death, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
