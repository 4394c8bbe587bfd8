"""The parent's hold on the process of one stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from penchant.runs.machine import stage_environment

__all__ = ["Worker"]


class Worker:
    """A stage at work in a process of its own.

    Args:
        spec: what `penchant.runs.child` needs, as JSON.
        lock: the descriptor of the run's lock, which the child inherits.
        log: where everything goes that the child prints.
    """

    def __init__(self, spec: dict[str, Any], lock: int, log: Path):
        self.stage: str = spec["stage"]
        self.threads: int = spec["threads"]
        self.summary: Any = None
        self.failure: tuple[str, int] | None = None
        self.finished = False  # the pipe of events has ended
        self.reported = False  # a result has come
        self._told = False
        self._rest = b""
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penchant.runs.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=stage_environment(self.threads),
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
        """The pipe of events, for `select`."""
        return self._stdout.fileno()

    def events(self) -> list[dict[str, Any]]:
        """Events that came since; takes note of results, failures and the end of the pipe."""
        try:
            chunk = os.read(self.fileno(), 1 << 16)
        except BlockingIOError:
            return []
        self.finished = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = []
        for line in lines:
            event = json.loads(line)
            if event["event"] == "result":
                self.summary, self.reported = event["summary"], True
            elif event["event"] == "error":
                self.failure = (event["line"], event["exit_code"])
            else:
                found.append(event)
        return found

    def send(self, number: int) -> None:
        """Send a signal, if there is still somebody to receive it."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, number: int) -> None:
        """Ask it once to save and stop; a second signal would make it leave at once."""
        if not self._told:
            self._told = True
            self.send(number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit code, negative for a signal that killed it."""
        code = self._process.wait()
        self._stdin.close()
        self._stdout.close()
        return code
