"""Files that are whole or absent: write aside, fsync, rename; locks; stable hashes; JSON with limits."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from penchant.errors import DiskFull, InputError, RunLocked

__all__ = [
    "append_json_lines",
    "folder_aside",
    "lock",
    "read_json",
    "read_json_lines",
    "stable_hash",
    "whole",
    "write_json",
    "write_text",
    "writing",
]


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" (and a quota) into one clear error that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                "the disk is full", "free some space and run the same command again; nothing was lost", file=path
            ) from error
        raise


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that appears at `path` only when the block ends well: written aside, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with disk_errors(path):
        try:
            encoding = None if "b" in mode else "utf-8"
            with open(aside, mode, encoding=encoding, newline=None if "b" in mode else "\n") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(aside, path)
            sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with writing(path, "w") as handle:
        handle.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, limit: int = 64 << 20) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Raises:
        InputError: missing, too large or not JSON.
    """
    if not path.is_file():
        raise InputError("no such file", "check the path", file=path)
    if path.stat().st_size > limit:
        raise InputError(f"larger than {limit >> 20} MB", "this should be a small JSON file", file=path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not valid JSON ({error})", "delete the file or write it again", file=path) from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSON-lines file that we wrote; a last line cut by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # not splitlines: texts hold U+2028
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def append_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a JSON-lines file (non-finite numbers become null, so that every line is JSON)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path), open(path, "a", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


@contextlib.contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A folder that appears at `path` only when the block ends well; every file in it is synced first.

    An existing folder at `path` is refused: what is there is never overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"tmp-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    with disk_errors(path):
        try:
            aside.mkdir()
            yield aside
            for item in sorted(aside.rglob("*")):
                sync(item)
            sync(aside)
            if path.exists():
                raise InputError("exists already", "choose another name; nothing is overwritten", file=path)
            os.rename(aside, path)
            sync(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def whole(text: str) -> str:
    """A text without halves of characters, which no file can hold: each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def stable_hash(value: Any) -> str:
    """SHA-256 (hex) of bytes, of a file's content (a Path), or of the canonical JSON of anything else."""
    if isinstance(value, Path):
        with open(value, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def lock(folder: Path, wait: float = 5.0) -> Iterator[int]:
    """Hold a folder for this process and the children that inherit the descriptor it yields.

    The system drops the lock when the last holder ends, so a killed run leaves nothing behind.

    Raises:
        RunLocked: another process still holds it after `wait` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise RunLocked(
                        "another process is using this run folder", "wait for it, or give another run_dir=", file=folder
                    ) from error
                time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)
