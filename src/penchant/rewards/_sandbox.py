"""Code that nobody trusts, in a process that can reach nothing: Linux namespaces and resource limits."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits", "passed", "usable"]

_UNSHARE = (
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
)
_NOBODY = 65534
# Every mount becomes read-only, then an empty folder in memory is laid over the one that code may write to.
_SHUT = """
mount --make-rprivate / 2>/dev/null
mount -t tmpfs -o size=64m,nodev,nosuid none "$1" || exit 97
cp "$2" "$1"/run.py || exit 97
mount -t proc none /proc 2>/dev/null
mount --bind "$1" "$1" || exit 97
awk '{print $5}' /proc/self/mountinfo | sort -r | while read -r at; do
  [ "$at" = "$1" ] || mount -o remount,bind,ro "$at" 2>/dev/null
done
touch /penchant-writes 2>/dev/null && { rm -f /penchant-writes; exit 97; }
cd "$1" && exec "$3" -I -S run.py
"""
_RUNNER = """
import json, resource, sys
seconds, memory = {seconds}, {memory}
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))
except (ValueError, OSError):
    pass
code, tests, secret = json.loads({payload})
write, out = sys.stdout.write, sys.stdout
sys.stdout = sys.stderr
space = {{"__name__": "__main__"}}
good = 0
try:
    exec(compile(code, "completion.py", "exec"), space)
except BaseException:
    tests = []
for test in tests:
    try:
        exec(compile(test, "test.py", "exec"), dict(space))
        good += 1
    except BaseException:
        pass
write(secret + " " + str(good) + "\\n")
out.flush()
"""


@dataclass(frozen=True)
class Limits:
    """What code may take; `shut`: it runs in namespaces of its own."""

    seconds: float
    memory_mb: int
    shut: bool


def passed(code: str, tests: Sequence[str], limits: Limits) -> int:
    """How many tests pass; none where the code fails, takes too long or too much."""
    secret = os.urandom(16).hex()  # a completion cannot print its own result
    payload = repr(json.dumps([code, list(tests), secret]))
    text = _RUNNER.format(seconds=limits.seconds, memory=limits.memory_mb << 20, payload=payload)
    with tempfile.TemporaryDirectory(prefix="penchant-") as place:
        file, work = Path(place, "run.py"), Path(place, "work")
        file.write_text(text, encoding="utf-8", errors="replace")
        work.mkdir()
        python = os.path.realpath(sys.executable)
        if limits.shut:
            if _nobody():
                Path(place).chmod(0o711)
                os.chown(work, _NOBODY, _NOBODY)
            words = [*_nobody(), *_UNSHARE, "sh", "-c", _SHUT, "sh", str(work), str(file), python]
        else:
            words = [python, "-I", "-S", str(file)]
        out = _run(words, limits.seconds + 2, work)
    for line in reversed(out.splitlines()):
        if line.startswith(secret):
            return int(line.split()[1])
    return 0


@functools.cache
def _nobody() -> tuple[str, ...]:
    """What makes root somebody else first, where that one can start Python: root may have any number of processes."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return ()
    words = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    tried = [*words, *_UNSHARE, os.path.realpath(sys.executable), "-I", "-S", "-c", ""]
    return words if subprocess.run(tried, capture_output=True, check=False).returncode == 0 else ()


def _run(words: Sequence[str], seconds: float, folder: Path) -> str:
    """What a process printed; it and its children are ended in time."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        out = b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return out.decode("utf-8", "replace")[-4096:]


@functools.cache
def usable() -> str:
    """Why code cannot be shut in here; empty where it can. Found by trying."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return "unshare or mount is missing"
    limits = Limits(10.0, 512, True)
    if passed("x = 1", ["assert x == 1"], limits) != 1:
        return "namespaces are not allowed"
    escape = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    wrote = "open('/tmp/penchant-escape', 'w').write('x')"
    return "it leaks" if passed("", [escape, wrote], limits) else ""
