"""A stage in several processes: it ends as one, whoever of them is killed, fails or is stopped; under torchrun too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penchant.runs.layout import RunFolder
from penchant.runtime.launch import Place, asked_processes, environment, follower, place

STAGE = str(Path(__file__).with_name("company.py"))
Write = Callable[[dict[str, Any]], str]
RUN = Path("runs/company")


@pytest.fixture
def recipe(write_recipe: Write) -> Callable[..., str]:
    """A recipe of one stage in company, with options."""

    def write(**options: Any) -> str:
        return write_recipe({"name": "company", "stages": {"a": {"kind": STAGE, "threads": 4, **options}}})

    return write


def ended(started: subprocess.Popen[str], code: int, limit: float = 60) -> list[str]:
    """The lines of a run that ended with a code."""
    _, told = started.communicate(timeout=limit)
    assert started.returncode == code, told
    assert "Traceback" not in told
    return told.splitlines()


def alive(stage: Path) -> list[int]:
    """The processes of a stage that are still there."""
    return [pid for pid in (int(file.read_text()) for file in stage.glob("pid-*")) if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_place_of_a_process_is_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert place() == Place()
    assert (asked_processes(), follower()) == (None, False)
    for name, value in environment({"A": "1", "MASTER_PORT": "5"}, Place(1, 3, 1, "/x/meet")).items():
        monkeypatch.setenv(name, value)
    assert place() == Place(1, 3, 1, "file:///x/meet")
    assert "MASTER_PORT" not in environment({"MASTER_PORT": "5"}, Place())
    assert "RANK" not in environment(os.environ, Place())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert (asked_processes(), follower()) == (3, True)


@pytest.mark.parametrize("value", ["0", "two", "1.5"])
def test_a_wrong_number_of_processes_is_refused(recipe: Any, start: Any, value: str) -> None:
    lines = ended(start("run", recipe(), f"processes={value}"), 2)
    assert "'processes'" in lines[-1]


def test_they_share_the_threads_and_the_first_reports(recipe: Any, start: Any) -> None:
    lines = ended(start("run", recipe(), "processes=2"), 0)
    done = RunFolder(RUN).done("a")
    assert done is not None
    assert done["summary"] == {
        "total": 3.0, "threads": 2, "begun_at": 0, "processes": 2, "row_threads": 2, "weights_shared": False
    }  # fmt: skip
    assert [line for line in lines if "is done" in line] == ["a: process 0 is done"]
    assert "stage a: up to date" in ended(start("run", recipe()), 0)  # with one process it is the same run


def test_a_killed_one_ends_all_with_one_line_and_the_next_start_goes_on(recipe: Any, start: Any) -> None:
    name = recipe(fail="killed", fail_once=True, steps=4)
    began = time.monotonic()
    lines = ended(start("run", name, "processes=2"), 1)
    assert time.monotonic() - began < 40
    errors = [line for line in lines if line.startswith("penchant: ")]
    assert len(errors) == 1
    assert "process 2 of 2 was killed by SIGKILL" in errors[0]
    assert alive(RUN / "stages/a") == []
    ended(start("run", name, "processes=2"), 0)
    assert (RunFolder(RUN).done("a") or {})["summary"]["begun_at"] == 1


@pytest.mark.slow
def test_what_went_wrong_in_one_is_told_not_what_followed_in_the_others(recipe: Any, start: Any) -> None:
    lines = ended(start("run", recipe(fail="input"), "processes=3"), 4)
    assert lines[-1] == "penchant: stage a: data.csv, row 2: no usable row in 3; give better data"
    lines = ended(start("run", recipe(fail="crash"), "processes=3", "run_dir=runs/b"), 1)
    assert "ValueError: a bug" in lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_after_the_same_step(recipe: Any, start: Any, number: int, code: int) -> None:
    name = recipe(steps=200, delay=0.05)
    process = start("run", name, "processes=2")
    until = time.monotonic() + 60
    while not (RUN / "stages/a/count").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    lines = ended(process, code)
    assert "go on with: penchant run company.yaml processes=2" in lines[-1]
    assert alive(RUN / "stages/a") == []


@pytest.mark.slow
def test_a_killed_parent_leaves_nobody(recipe: Any, start: Any) -> None:
    process = start("run", recipe(steps=200, delay=0.05), "processes=2")
    until = time.monotonic() + 60
    while not (RUN / "stages/a/count").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert len(alive(RUN / "stages/a")) == 2
    process.kill()
    process.wait()
    until = time.monotonic() + 5
    while alive(RUN / "stages/a") and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(RUN / "stages/a") == []


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    """`torchrun WORDS`, to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_torchrun_gives_the_processes_and_brings_a_killed_run_back(recipe: Any) -> None:
    name = recipe(fail="killed", fail_once=True, steps=4)
    done = torchrun("--nproc_per_node=2", "--max-restarts=1", "-m", "penchant", "run", name)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("process 2 of 2 was killed by SIGKILL") == 1
    assert done.stdout.split() == ["runs/company"]  # the others leave the talking to the first
    summary = (RunFolder(RUN).done("a") or {})["summary"]
    assert (summary["processes"], summary["total"], summary["begun_at"]) == (2, 3.0, 1)
    assert json.loads((RUN / "recipe.json").read_text())["name"] == "company"


@pytest.mark.slow
def test_torchrun_without_restarts_fails_as_the_run_does(recipe: Any) -> None:
    done = torchrun("--nproc_per_node=2", "-m", "penchant", "run", recipe(fail="input"))
    assert done.returncode != 0
    assert done.stderr.count("penchant: stage a: data.csv, row 2: no usable row in 3; give better data") == 1
