"""A full disk, at each stage: exit code 1 and one line, what stood stays, and with room the same command finishes.

The disk is a small tmpfs that a ballast fills; where none can be mounted, writes into the stage's folder fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comparing import everything
from running import one_line, penchant

ROOM = 40 << 10  # bytes left on the full disk: enough for what a run notes about itself, not for a result
INJECTED = """
import builtins, errno, io, os
real, after = io.open, [int(os.environ.get("FULL_AFTER", 0))]
def full(file, mode="r", *rest, **more):
    if set(mode) & set("wxa+") and os.environ["FULL_AT"] in str(file):
        after[0] -= 1
        if after[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
    return real(file, mode, *rest, **more)
builtins.open = io.open = full
"""
Fill = Callable[[str], "contextmanager[dict[str, str]]"]  # path of the stage -> environment while the disk is full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Fill]]:
    """A folder on a disk of its own, and how to fill it."""
    place, ballast = tmp_path / "disk", tmp_path / "disk" / "ballast"
    place.mkdir()
    mounted = (
        not os.geteuid() and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place]).returncode
    )

    @contextmanager
    def full(stage: str) -> Iterator[dict[str, str]]:
        if mounted:
            free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
            ballast.write_bytes(bytes(free - ROOM))
            yield {}
            ballast.unlink()
        else:
            yield injection(tmp_path, f"/{stage}")

    try:
        yield place, full
    finally:
        if mounted:
            subprocess.run(["umount", "-l", place], check=True)


def injection(folder: Path, where: str, after: int = 0) -> dict[str, str]:
    """An environment in which opening a file to write fails, from the `after`-th whose path holds `where`."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(INJECTED)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "FULL_AT": where, "FULL_AFTER": str(after)}


def half_written(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith("tmp-") or p.name.endswith(".tmp")]


def results(folder: Path) -> dict[str, object]:
    """Everything that stands, attempts apart."""
    return {name: value for name, value in everything(folder).items() if ".new/" not in name and name != "again.json"}


def fills_up(run: Path, full: Fill, stage: str, *words: object) -> None:
    """These words fail on a full disk, lose nothing, and succeed when there is room."""
    before = results(run)
    with full(f"stages/{stage}.new") as env:
        one_line(penchant(*words, env=env), 1, "disk is full", "free some space")
    assert results(run) == before
    assert half_written(run) == []
    done = penchant(*words)
    assert done.returncode == 0, done.stderr[-2000:]
    after = results(run)
    changed = {name for name in before if before[name] != after[name]}  # how often it was made
    assert f"stages/{stage}/done.json" in changed
    assert all(name.endswith("/done.json") for name in changed), changed
    assert not [p for p in (run / "stages").iterdir() if "." in p.name]


@pytest.fixture
def words(tmp_path: Path) -> tuple[Path, str]:
    """A recipe of a prepare and a tokenizer over a few texts."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(30):
        lines = [f"def function_{number}_{line}(x):\n    return x * {line * number}\n" for line in range(60)]
        (texts / f"{number}.py").write_text("\n\n".join(lines))
    recipe = tmp_path / "words.yaml"
    recipe.write_text(
        "# words\nname: words\nstages:\n"
        f"  prepare: {{kind: prepare, path: {texts}, near_duplicates: null, workers: 1}}\n"
        "  tokenizer: {kind: tokenizer, vocab_size: 2000, inputs: {data: prepare}}\n"
    )
    return recipe, str(tmp_path)


def test_prepare_and_tokenizer(disk: tuple[Path, Fill], words: tuple[Path, str]) -> None:
    place, full = disk
    run = place / "run"
    assert penchant("run", words[0], f"run_dir={run}").returncode == 0
    for stage in ("tokenizer", "prepare"):
        fills_up(run, full, stage, *("run", words[0], f"run_dir={run}", "--from", stage))


def test_evaluate_and_report(disk: tuple[Path, Fill], finished: Path) -> None:
    place, full = disk
    run = place / "run"
    shutil.copytree(finished, run)
    fills_up(run, full, "evaluate", "evaluate", "smoke", f"run_dir={run}", "--from", "evaluate")
    fills_up(run, full, "report", "report", run)


def test_checkpoints(finished: Path, tmp_path: Path) -> None:
    """The disk fills up at the second checkpoint: the first one is there to go on from."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = results(run)
    command = ("pretrain", "smoke", f"run_dir={run}", "--from", "mle")
    env = injection(tmp_path, "mle.new/tmp-checkpoint-8")
    one_line(penchant(*command, env=env), 1, "the disk is full", "checkpoint-8")
    assert results(run) == before
    assert half_written(run) == []
    assert sorted(p.name for p in (run / "stages/mle.new").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]
    done = penchant(*command)
    assert "going on from step 6" in done.stderr
    assert done.returncode == 0, done.stderr[-2000:]
    after = results(run)
    assert {name for name in before if before[name] != after[name]} == {"stages/mle/done.json"}
    assert json.loads((run / "stages/mle/done.json").read_text())["made"] == 2


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    env = injection(tmp_path, f"{tmp_path}/run")
    done = penchant("run", "smoke", f"run_dir={tmp_path / 'run'}", env=env)
    one_line(done, 1, "disk is full")
    assert half_written(tmp_path / "run") == []
