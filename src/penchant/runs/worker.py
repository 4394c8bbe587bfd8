"""The parent's hold on the process of one stage, or on the several that run it together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from penchant.runs.machine import stage_environment
from penchant.runtime.launch import Place, environment

__all__ = ["Worker"]

_PATIENCE = 15.0  # seconds that the others have to notice by themselves that one has ended
_AFTER_ANOTHER = "PeerLost"  # what a process says that only noticed that another had ended


class Worker:
    """A stage at work in one process, or in several, of which the first reports.

    Args:
        spec: what `penchant.runs.child` needs, as JSON; its `threads` are each process's own.
        lock: the descriptor of the run's lock, which the children inherit.
        log: where everything goes that they print.
        processes: how many run it together.
    """

    def __init__(self, spec: dict[str, Any], lock: int, log: Path, processes: int = 1):
        self.stage: str = spec["stage"]
        self.threads: int = spec["threads"] * processes
        self.summary: Any = None
        self.reported = False  # a result has come
        self._errors: list[dict[str, Any]] = []
        self._told = False
        self._lost_at: float | None = None
        self._meeting = tempfile.mkdtemp(prefix="penchant-") if processes > 1 else ""
        places = [Place(n, processes, n, f"{self._meeting}/meeting") for n in range(processes)]
        self._processes = [_Process(spec, lock, log, place) for place in places]

    def handles(self) -> list[int]:
        """The pipes of events that are still open, for `select`."""
        return [process.fileno() for process in self._processes if not process.finished]

    @property
    def finished(self) -> bool:
        """Whether all pipes of events have ended."""
        return not self.handles()

    def events(self) -> list[dict[str, Any]]:
        """Events that came since; takes note of results and failures."""
        found = []
        for number, process in enumerate(self._processes):
            for event in process.read():
                if event["event"] == "error":
                    self._errors.append(event)
                elif number == 0 and event["event"] == "result":
                    self.summary, self.reported = event["summary"], True
                elif number == 0:
                    found.append(event)
        return found

    def watch(self) -> None:
        """End those that wait for one that is no more, if they do not by themselves."""
        if self._lost_at is None and any(process.poll() not in (None, 0) for process in self._processes):
            self._lost_at = time.monotonic()
        if self._lost_at is not None and time.monotonic() - self._lost_at > _PATIENCE:
            self._end()

    @property
    def failure(self) -> tuple[str, int] | None:
        """The line and the exit code of what went wrong first, not of what followed from it; None if nobody said."""
        count = len(self._processes)
        for number, process in enumerate(self._processes):
            if count > 1 and process.killed_by:
                mend = "if memory was short, take a smaller batch, else start it again"
                return f"process {number + 1} of {count} was killed by {process.killed_by}; {mend}", 1
        causes = [error for error in self._errors if error.get("kind") != _AFTER_ANOTHER] or self._errors
        causes.sort(key=lambda error: not error.get("expected"))
        return (causes[0]["line"], causes[0]["exit_code"]) if causes else None

    def send(self, number: int) -> None:
        """Send a signal to whoever is still there to receive it."""
        for process in self._processes:
            process.send(number)

    def stop(self, number: int) -> None:
        """Ask once to save and stop; a second signal would make them leave at once."""
        if not self._told:
            self._told = True
            self.send(number)

    def kill(self) -> None:
        """End all at once."""
        self._end()
        self.wait()

    def _end(self) -> None:
        for process in self._processes:
            process.end()

    def wait(self) -> int:
        """Wait for the end; the exit code of the first process, or of another where that one did well but for it.

        Negative for a signal that killed it.
        """
        codes = [process.wait() for process in self._processes]
        if self._meeting:
            shutil.rmtree(self._meeting, ignore_errors=True)
        return codes[0] if self.reported else next((code for code in codes if code), 0)


class _Process:
    """One process, its pipe of events, and the pipe that tells it that we live."""

    def __init__(self, spec: dict[str, Any], lock: int, log: Path, place: Place):
        self.finished = False
        self._ended_by_us = False
        self._rest = b""
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penchant.runs.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment(stage_environment(spec["threads"]), place),
                pass_fds=(lock,),
                process_group=0,  # Ctrl-C reaches the parent alone, which passes it on once
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._stdin.write(json.dumps({**spec, "keep": [lock]}).encode() + b"\n")
        self._stdin.flush()  # and stays open: it tells the child that we live

    def fileno(self) -> int:
        return self._stdout.fileno()

    def read(self) -> list[dict[str, Any]]:
        """The events that came since; notes the end of the pipe."""
        if self.finished:
            return []
        try:
            chunk = os.read(self.fileno(), 1 << 16)
        except BlockingIOError:
            return []
        self.finished = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def poll(self) -> int | None:
        return self._process.poll()

    @property
    def killed_by(self) -> str:
        """The signal that killed it and was not ours; empty if none did."""
        code = self.poll()
        if code is None or code >= 0 or self._ended_by_us:
            return ""
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    def send(self, number: int) -> None:
        if self.poll() is None:
            self._process.send_signal(number)

    def end(self) -> None:
        if self.poll() is None:
            self._ended_by_us = True
            self._process.kill()

    def wait(self) -> int:
        code = self._process.wait()
        self._stdin.close()
        self._stdout.close()
        return code
