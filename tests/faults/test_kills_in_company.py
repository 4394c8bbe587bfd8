"""Two processes a stage, killed again and again, the parent or one of the two: the same bits as two left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comparing import everything

LIVELY = "tuned.rewards=[{name: length, unit: characters, low: 60}]"
TRAINING = ("mle", "conditional", "tuned")


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "penchant", "run", "smoke", LIVELY, "processes=2", f"run_dir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]


def children(parent: int) -> list[int]:
    """The processes that a process started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def begun(folder: Path, stage: str) -> bool:
    return (folder / f"stages/{stage}/attempt.json").exists() and not (folder / f"stages/{stage}/done.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for children in /proc")
def test_processes_in_company_go_on_bit_for_bit(tmp_path: Path) -> None:
    finish(start(tmp_path / "whole"))
    chance, folder = random.Random(1), tmp_path / "cut"
    killed = 0
    for stage in TRAINING:
        for whom in ("parent", "one"):
            process = start(folder)
            while not begun(folder, stage) and process.poll() is None:
                time.sleep(0.01)
            try:
                process.wait(timeout=chance.uniform(2.0, 7.0))
            except subprocess.TimeoutExpired:
                victims = [process.pid] if whom == "parent" else children(process.pid)
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    killed += 1
            _, errors = process.communicate(timeout=120)
            assert "Traceback" not in errors
            assert len([line for line in errors.splitlines() if line.startswith("penchant: ")]) <= 1
    finish(start(folder))
    assert killed >= 3
    found, expected = everything(folder), everything(tmp_path / "whole")
    assert [path for path in sorted({*found, *expected}) if found.get(path) != expected.get(path)] == []
