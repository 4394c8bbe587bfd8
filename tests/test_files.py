"""Files are whole or absent, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from penchant import files
from penchant.errors import DiskFull, InputError, RunLocked


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"a": [1, "é"]})
    files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 2}
    assert os.listdir(path.parent) == ["a.json"]


def test_a_failing_writer_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(TypeError), files.writing(path, "w") as handle:
        handle.writelines(["half", None])
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, float("nan"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


_WRITER = """
import sys, time
from pathlib import Path
from penchant.files import folder_aside, writing
path = Path(sys.argv[1])
if sys.argv[2] == "file":
    with writing(path, "w") as handle:
        handle.write("new" * 100_000); handle.flush(); print("half", flush=True); time.sleep(60)
else:
    with folder_aside(path) as aside:
        (aside / "x").write_text("new"); print("half", flush=True); time.sleep(60)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_sigkill_in_mid_write_leaves_what_was(what: str, tmp_path: Path) -> None:
    path = tmp_path / "target"
    if what == "file":
        files.write_text(path, "old")
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (path.read_text() == "old") if what == "file" else not path.exists()
    if what == "folder":  # what is left over does not stand in the way
        with files.folder_aside(path) as aside:
            (aside / "y").write_text("second")
        assert os.listdir(path) == ["y"]


class FullDisk:
    """A handle on a disk that has no space left."""

    def __init__(self, handle: Any, code: int) -> None:
        self.handle, self.code = handle, code

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()

    def write(self, data: Any) -> int:
        self.handle.write(data[: len(data) // 2])
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    monkeypatch.setattr("builtins.open", lambda *args, _open=open, **kwargs: FullDisk(_open(*args, **kwargs), code))
    with pytest.raises(DiskFull) as error:
        files.write_text(path, "new")
    with pytest.raises(DiskFull):
        files.append_json_lines(tmp_path / "log.jsonl", [{"a": 1}])
    monkeypatch.undo()
    assert error.value.exit_code == 1
    assert str(error.value).startswith(f"{path}: the disk is full; free some space")
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_full_disk_at_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull), files.folder_aside(tmp_path / "folder") as aside:
        (aside / "x").write_text("x")
    assert os.listdir(tmp_path) == []


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        files.write_text(tmp_path, "x") if tmp_path.is_dir() else None
    assert tmp_path.is_dir()


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    with files.folder_aside(tmp_path / "f") as aside:
        (aside / "deep").mkdir()
        (aside / "deep/x").write_text("1")
    with pytest.raises(InputError, match="exists already"), files.folder_aside(tmp_path / "f") as aside:
        (aside / "x").write_text("2")
    assert (tmp_path / "f/deep/x").read_text() == "1"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("text", ["", "{", "\xff", "[1, 2"])
def test_json_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        files.read_json(path)


def test_json_limits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        files.read_json(tmp_path / "none.json")
    files.write_text(tmp_path / "big.json", "[" + "1," * 1000 + "1]")
    with pytest.raises(InputError, match="larger than"):
        files.read_json(tmp_path / "big.json", limit=100)


def test_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files.append_json_lines(path, [{"a": float("nan"), "b": [float("inf")]}, {"a": 2}])
    with open(path, "a") as handle:
        handle.write('{"a": 3')
    assert files.read_json_lines(path) == [{"a": None, "b": [None]}, {"a": 2}]
    assert files.read_json_lines(tmp_path / "none") == []


def test_hashes_are_of_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert files.stable_hash(b"abc") == files.stable_hash(tmp_path / "x")
    assert files.stable_hash({"a": 1, "b": 2}) == files.stable_hash({"b": 2, "a": 1})
    assert files.stable_hash({"a": 1}) != files.stable_hash({"a": 2})


def test_a_lock_is_held_by_children_until_they_end(tmp_path: Path) -> None:
    with files.lock(tmp_path) as handle:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(handle,))
    with pytest.raises(RunLocked) as error, files.lock(tmp_path, wait=0.2):
        pass
    assert error.value.exit_code == 2
    began = time.monotonic()
    child.kill()
    with files.lock(tmp_path, wait=5):
        assert time.monotonic() - began < 2
    child.wait()
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '[".lock"]'
