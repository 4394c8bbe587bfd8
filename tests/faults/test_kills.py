"""A run that is killed again and again, in each of its stages, ends with the same bits as one that is not.

`PENCHANT_KILLS=200 pytest tests/faults/test_kills.py` (or `make kills N=200`) kills more often. Every file is compared;
what may differ is listed in `comparing.py`.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comparing import everything

KILLS = int(os.environ.get("PENCHANT_KILLS", "20"))  # at least; more until each stage was hit
TIMES = 3  # a stage of one run
SEED = int(os.environ.get("PENCHANT_KILLS_SEED", "0"))
STAGES = ("prepare", "tokenizer", "mle", "conditional", "tuned", "evaluate", "report")
LONGEST = {"prepare": 1.5, "tokenizer": 0.5, "report": 0.5}  # seconds after a short stage's begin
# Rewards that differ between samples, so that tuning moves the weights and a wrong resume shows.
LIVELY = "tuned.rewards=[{name: length, unit: characters, low: 60}]"


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "penchant", "run", "smoke", LIVELY, f"run_dir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-2000:]


def differing(found: dict, expected: dict) -> list[str]:
    """The files that are not alike in two runs, those that only one has included."""
    return [path for path in sorted({*found, *expected}) if path not in found or found[path] != expected.get(path)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder))
    found = everything(folder)
    weights = [found[f"models/{name}/model.safetensors"] for name in ("conditional", "tuned")]
    assert weights[0] != weights[1], "a tuning that moves nothing would hide a wrong resume"
    return found


def unfinished(folder: Path) -> set[str]:
    """The stages at work in a run folder."""
    return {p.parent.name for p in folder.glob("stages/[!.]*/attempt.json") if not (p.parent / "done.json").exists()}


def killed_in(folder: Path, stage: str, chance: random.Random) -> bool:
    """Start or go on, and kill at a random instant after a stage has begun; False where it ended before."""
    process = start(folder)
    while stage not in unfinished(folder):
        if process.poll() is not None:
            process.stderr.close()
            return False
        time.sleep(0.01)
    try:
        process.wait(timeout=chance.uniform(0.0, LONGEST.get(stage, 3.0)))
    except subprocess.TimeoutExpired:
        if chance.random() < 0.5:
            process.kill()  # only the parent: its children must not live on
        else:
            os.killpg(process.pid, signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    process.stderr.close()
    return killed


@pytest.mark.timeout(60 * 60 * 6 if KILLS > 20 else 600)
def test_a_run_killed_at_random_points_of_all_its_stages_ends_as_if_it_had_not_been(whole, tmp_path):
    chance = random.Random(SEED)
    kills, number, hit = 0, 0, set()
    while kills < KILLS or hit < set(STAGES):
        folder = tmp_path / f"run-{number}"
        number += 1
        for stage in (stage for stage in STAGES for _ in range(TIMES)):
            if (kills < KILLS or stage not in hit) and killed_in(folder, stage, chance):
                kills += 1
                hit |= unfinished(folder)
        finish(start(folder))
        assert differing(everything(folder), whole) == [], f"after {kills} kills"
        assert number < KILLS + 20, f"only {hit} were hit"


def test_a_signal_saves_and_prints_the_line_that_goes_on(whole, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    until = time.monotonic() + 60
    while not list(folder.glob("stages/mle/checkpoint-*")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was done before the signal came
        assert process.returncode == 143, errors.decode()[-2000:]
        assert f"penchant run smoke {LIVELY} run_dir={folder}" in errors.decode().replace("'", "")
        assert "Traceback" not in errors.decode()
    finish(start(folder))
    # The checkpoint that the signal made is one more, and so another one may have been removed.
    assert [path for path in differing(everything(folder), whole) if "/checkpoint-" not in path] == []
