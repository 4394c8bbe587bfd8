"""`penchant` as a process of its own, and what its failures must look like."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping


def penchant(*words: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `penchant ...` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "penchant", *map(str, words)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        env={**os.environ, **(env or {})},
    )


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with this code and one line of error that holds these words, without a traceback."""
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("penchant: ")]
    assert len(errors) == 1, done.stderr[-2000:]
    for word in words:
        assert word in errors[0], errors[0]
