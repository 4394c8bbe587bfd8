"""Kills, signals and locks, on real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penchant.runs.layout import RunFolder

Write = Callable[[dict[str, Any]], str]


@pytest.fixture
def slow(chain: dict[str, Any], write_recipe: Write) -> str:
    """A recipe whose second stage counts to 40 in at least 2 seconds."""
    del chain["stages"]["c"]
    chain["stages"]["b"] |= {"steps": 40, "delay": 0.05}
    return write_recipe(chain)


def wait_for(stage: Path, least: int = 3) -> None:
    """Until the stage has counted a little."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        file = stage / "steps.txt"
        if file.exists() and len(file.read_text().splitlines()) >= least:
            return
        time.sleep(0.02)
    raise AssertionError("the stage did not start")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3] if Path("/proc").exists() else True


def counted(stage: Path) -> list[str]:
    return [line.split()[0] for line in (stage / "steps.txt").read_text().splitlines()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_prints_how_to_go_on(slow: str, start: Any, number: int, code: int) -> None:
    process = start("run", slow, "a.text=hello world")
    stage = Path("runs/chain/stages/b")
    wait_for(stage)
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == code
    line = told.splitlines()[-1]
    assert line == (
        "penchant: stopped, state saved; go on with: penchant run chain.yaml 'a.text=hello world' run_dir=runs/chain"
    )
    assert not (stage / "done.json").exists()
    process = start("run", slow, "a.text=hello world", "run_dir=runs/chain")
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    assert "stage a: up to date" in told
    assert counted(stage) == [str(n) for n in range(1, 41)]


def test_sigkill_at_any_time_leaves_nobody_and_goes_on(slow: str, start: Any) -> None:
    stage = Path("runs/chain/stages/b")
    process = start("run", slow)
    wait_for(stage)
    process.kill()
    process.wait()
    child = int((stage / "steps.txt").read_text().splitlines()[-1].split()[1])
    until = time.monotonic() + 2
    while alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(child)
    process = start("run", slow)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    found = counted(stage)  # a step whose line was cut off by the kill is missing, none comes twice
    assert len(found) == len(set(found)) >= 39
    done = RunFolder(Path("runs/chain")).done("b")
    assert done is not None
    assert len(done["spans"]) == 2


def test_a_second_ctrl_c_leaves_at_once(chain: dict[str, Any], write_recipe: Write, start: Any) -> None:
    chain["stages"] = {"a": {**chain["stages"]["a"], "steps": 20, "delay": 2.0}}
    process = start("run", write_recipe(chain))
    stage = Path("runs/chain/stages/a")
    wait_for(stage, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - began < 1.5


def test_a_stage_that_does_not_look_is_interrupted(chain: dict[str, Any], write_recipe: Write, start: Any) -> None:
    chain["stages"] = {"a": {**chain["stages"]["a"], "steps": 100, "delay": 0.5, "polite": False}}
    process = start("run", write_recipe(chain))
    wait_for(Path("runs/chain/stages/a"), 1)
    process.terminate()
    began = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - began < 5


def test_a_run_in_use_is_left_alone(slow: str, start: Any) -> None:
    first = start("run", slow)
    wait_for(Path("runs/chain/stages/b"))
    os.kill(first.pid, signal.SIGSTOP)  # it must not finish while the other waits
    try:
        second = start("run", slow)
        _, told = second.communicate(timeout=20)
        assert second.returncode == 2
        assert told.strip().startswith("penchant: runs/chain: another process is using this run folder")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.communicate(timeout=20)
    assert first.returncode == 0
