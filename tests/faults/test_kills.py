"""A run that is killed again and again ends with the same bits as one that is not.

`PENCHANT_KILLS=200 pytest tests/faults/test_kills.py` (or `make kills N=200`) kills more often.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

KILLS = int(os.environ.get("PENCHANT_KILLS", "20"))
SEED = int(os.environ.get("PENCHANT_KILLS_SEED", "0"))
STAGES = ("prepare", "tokenizer", "mle", "conditional", "tuned", "evaluate", "report")
LONGEST = {"prepare": 1.5, "tokenizer": 0.5, "report": 0.5}  # seconds after a short stage's begin
TIMES = ("seconds", "tokens_per_second", "time", "started", "finished", "attempts")


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "penchant", "run", "smoke", f"run_dir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-2000:]


def timeless(value):
    """The value without anything that says how long something took."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not any(word in k for word in TIMES)}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def content(path: Path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pydict()
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    return path.read_bytes()


def everything(folder: Path) -> dict:
    """All that a run leaves, by relative path: models, metrics, samples, rollouts, completions, figures."""
    wanted = ("*.safetensors", "*.jsonl", "*.parquet", "evaluation.json", "tokenizer.json", "config.json")
    found = {p.relative_to(folder): content(p) for pattern in wanted for p in folder.rglob(pattern)}
    report = json.loads((folder / "report.json").read_text())
    return found | {"report": {k: timeless(report[k]) for k in ("models", "paired")}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    begin = time.monotonic()
    finish(start(folder))
    return everything(folder), time.monotonic() - begin


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
    expected, _ = whole
    chance = random.Random(SEED)
    kills, number, hit = 0, 0, set()
    while kills < KILLS:
        folder = tmp_path / f"run-{number}"
        number += 1
        for stage in STAGES:
            before = kills
            kills += kills < KILLS and killed_in(folder, stage, chance)
            hit |= unfinished(folder) if kills > before else set()
        finish(start(folder))
        found = everything(folder)
        assert set(found) == set(expected)
        for path, value in expected.items():
            assert found[path] == value, f"{path} differs after {kills} kills"
    assert hit == set(STAGES) or len(STAGES) > KILLS, f"only {hit} were hit"


def test_a_signal_saves_and_prints_the_line_that_goes_on(whole, tmp_path):
    expected, _ = whole
    folder = tmp_path / "run"
    process = start(folder)
    until = time.monotonic() + 60
    while not list(folder.glob("stages/mle/checkpoint-*")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    if process.returncode != 0:  # else it was done before the signal came
        assert process.returncode == 143, errors.decode()[-2000:]
        assert f"penchant run smoke run_dir={folder}" in errors.decode().replace("'", "")
        assert "Traceback" not in errors.decode()
    finish(start(folder))
    found = everything(folder)
    for path, value in expected.items():
        if path in found or "checkpoint-" not in str(path):  # the checkpoint that the signal made is one more
            assert found[path] == value, path
