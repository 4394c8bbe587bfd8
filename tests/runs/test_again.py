"""`--from`: what is made again replaces what stood before only when it is finished, and a kill loses neither."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penchant import api
from penchant.errors import StageFailed
from penchant.files import read_json, write_json, write_text
from penchant.runs.layout import RunFolder
from penchant.runs.planning import plan
from penchant.runs.publish import publish
from penchant.runs.recipe import load_recipe
from penchant.runs.stage_folder import StageFolder

Write = Callable[[dict[str, Any]], str]
TOLD = ("log.txt", "environment.json", ".lock", "again.json")  # what a run tells of itself, and no result


def results(folder: Path) -> dict[str, bytes]:
    """Everything that stands, attempts apart."""
    found = [p for p in folder.rglob("*") if p.is_file() and p.name not in TOLD]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if ".new" not in str(p)}


def counted(stage: Path) -> list[str]:
    return [line.split()[0] for line in (stage / "steps.txt").read_text().splitlines()]


@pytest.fixture
def trapped(chain: dict[str, Any]) -> dict[str, Any]:
    """a -> b -> c, where b fails once the file `trap` is there."""
    chain["stages"]["b"] |= {"trap": "trap", "model": True}
    chain["stages"]["c"] |= {"model": True}
    return chain


@pytest.mark.parametrize("how", ["input", "crash", "killed", "full", "silent"])
@pytest.mark.parametrize("redo", ["a", "b"])
def test_a_failure_leaves_what_stood(trapped: dict[str, Any], how: str, redo: str) -> None:
    run = api.run(trapped)
    before = results(run.path)
    Path("trap").write_text(how)
    with pytest.raises(StageFailed):
        api.run(trapped, redo=[redo])
    after = results(run.path)
    changed = {name for name in before if before[name] != after.get(name)}
    of_a = {name for name in before if name.startswith("stages/a/")} | {"timing.json"}
    assert changed <= (of_a if redo == "a" else set()), "a finished, so its new result stands; all others are the old"
    assert before.keys() == after.keys()
    Path("trap").unlink()
    again = api.run(trapped, redo=[redo])
    assert counted(again.stage("b")) == ["1", "2", "3"]
    assert [p.name for p in (run.path / "stages").iterdir() if "." in p.name] == []
    assert not run.again_file.exists()


def test_bad_input_leaves_nothing_to_do(trapped: dict[str, Any]) -> None:
    run = api.run(trapped)
    before = results(run.path)
    Path("trap").write_text("input")
    with pytest.raises(StageFailed):
        api.run(trapped, redo=["b"])
    api.run(trapped)
    assert results(run.path) == before
    assert not (run.path / "stages/b.new").exists()


def test_changed_options_that_fail_leave_the_recipe(chain: dict[str, Any]) -> None:
    run = api.run(chain, run_dir="here")
    before = results(run.path)
    for how in ("input", "crash"):
        with pytest.raises(StageFailed):
            api.run(chain, {"b.fail": how}, run_dir="here", redo=["b"])
        assert results(run.path) == before


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def kill_when(process: Any, condition: Callable[[], bool]) -> None:
    """SIGKILL to the parent; its children end by themselves."""
    wait_for(condition)
    process.kill()
    process.communicate()


def steps_of(stage: Path) -> int:
    file = stage / "steps.txt"
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.parametrize("same", [True, False], ids=["the same command", "a plain run"])
def test_a_kill_goes_on_with_the_new_attempt(
    chain: dict[str, Any], write_recipe: Write, start: Any, same: bool
) -> None:
    chain["stages"]["b"] |= {"steps": 30, "delay": 0.03}
    name, run = write_recipe(chain), RunFolder(Path("runs/chain"))
    assert start("run", name).wait() == 0
    before = results(run.path)
    new = run.path / "stages/b.new"
    for least in (3, 12):
        process = start("run", name, *(["--from", "b"] if same or least == 3 else []))
        kill_when(process, lambda least=least: steps_of(new) >= least)
        assert results(run.path) == before
    _, told = (process := start("run", name, *(["--from", "b"] if same else []))).communicate()
    assert process.returncode == 0, told
    assert ("to be made again, as --from asked: b, c" in told) is not same
    steps = counted(run.stage("b"))  # a step whose line was cut off by a kill is missing, none comes twice
    assert len(steps) == len(set(steps)) >= 28
    assert len(run.done("b")["spans"]) == 3  # type: ignore[index]
    assert [run.done(stage)["made"] for stage in "abc"] == [1, 2, 2]  # type: ignore[index]
    after = results(run.path)
    assert {k for k in before if before[k] != after[k]} >= {"stages/b/steps.txt", "stages/c/steps.txt"}
    assert before["stages/b/result"] == after["stages/b/result"]
    assert start("run", name).wait() == 0
    assert results(run.path)["stages/b/steps.txt"] == after["stages/b/steps.txt"]


def test_what_was_made_again_before_a_kill_is_not_made_once_more(
    chain: dict[str, Any], write_recipe: Write, start: Any
) -> None:
    chain["stages"]["c"] |= {"steps": 30, "delay": 0.03}
    name, run = write_recipe(chain), RunFolder(Path("runs/chain"))
    assert start("run", name).wait() == 0
    first = results(run.path)
    kill_when(start("run", name, "--from", "a"), lambda: steps_of(run.path / "stages/c.new") >= 3)
    killed = results(run.path)
    assert killed["stages/a/steps.txt"] != first["stages/a/steps.txt"]
    assert killed["stages/c/steps.txt"] == first["stages/c/steps.txt"]
    assert start("run", name, "--from", "a").wait() == 0
    last = results(run.path)
    assert [last[f"stages/{s}/steps.txt"] == killed[f"stages/{s}/steps.txt"] for s in "abc"] == [True, True, False]
    assert start("run", name, "--from", "a").wait() == 0
    assert results(run.path)["stages/a/steps.txt"] != last["stages/a/steps.txt"], "when it has ended, it is a new wish"


def test_ctrl_c_goes_on_too(chain: dict[str, Any], write_recipe: Write, start: Any) -> None:
    chain["stages"]["b"] |= {"steps": 30, "delay": 0.03}
    name, run = write_recipe(chain), RunFolder(Path("runs/chain"))
    assert start("run", name).wait() == 0
    process = start("run", name, "--from", "b")
    wait_for(lambda: steps_of(run.path / "stages/b.new") >= 3)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    process.communicate()
    assert start("run", name, "--from", "b").wait() == 0
    assert counted(run.stage("b")) == [str(n) for n in range(1, 31)]


def test_another_from_starts_over_and_forgets_nothing(chain: dict[str, Any], write_recipe: Write, start: Any) -> None:
    chain["stages"]["c"] |= {"steps": 30, "delay": 0.03}
    name, run = write_recipe(chain), RunFolder(Path("runs/chain"))
    assert start("run", name).wait() == 0
    kill_when(start("run", name, "--from", "b"), lambda: steps_of(run.path / "stages/c.new") >= 3)
    attempt = (run.path / "stages/c.new/steps.txt").read_text()
    assert start("run", name, "--from", "c").wait() == 0
    assert not (run.stage("c") / "steps.txt").read_text().startswith(attempt)
    assert [run.done(stage)["made"] for stage in "abc"] == [1, 2, 2]  # type: ignore[index]


def test_only_some_stages_leave_the_rest_to_be_made_again(chain: dict[str, Any]) -> None:
    run = api.run(chain)
    api.run(chain, redo=["a"], only=["b"])
    assert [run.done(stage)["made"] for stage in "abc"] == [2, 2, 1]  # type: ignore[index]
    api.run(chain, redo=["a"], only=["b"])
    assert [run.done(stage)["made"] for stage in "abc"] == [3, 3, 1]  # type: ignore[index]
    recipe = load_recipe(chain, environment={})
    assert [row["state"] for row in plan(recipe)["stages"].values()] == ["up to date", "up to date", "run"]
    assert [row["state"] for row in plan(recipe, redo=("b",))["stages"].values()] == ["up to date", "run", "run"]
    api.run(chain)
    assert [run.done(stage)["made"] for stage in "abc"] == [3, 3, 2]  # type: ignore[index]
    assert not run.again_file.exists()


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


@pytest.mark.parametrize("instant", range(12))
def test_a_kill_while_a_result_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: int) -> None:
    """At every change on disk between "the attempt has ended" and "it has taken its place"."""
    place = StageFolder(tmp_path / "stages" / "x")
    for text in ("old", "new"):
        place.begin(text)
        write_text(place.attempt / "result", text)
        if text == "old":
            place.finish("kind", text, None, [])
    left = [instant]
    for module, name in ((os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir")):
        real = getattr(module, name)

        def change(*words: Any, real: Callable[..., Any] = real, **more: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*words, **more)

        monkeypatch.setattr(module, name, change)
    with contextlib.suppress(Killed):
        place.finish("kind", "new", None, [])
    monkeypatch.undo()
    standing = place.done()
    assert standing is None or (place.path / "result").read_text() == standing["fingerprint"]
    for _ in range(2):
        place.settle()
        done = place.done()
        assert done is not None
        assert (place.path / "result").read_text() == done["fingerprint"]
        assert done["made"] == {"old": 1, "new": 2}[done["fingerprint"]]
        assert place.attempted("new") is (done["fingerprint"] == "old"), "it goes on, or it is finished"
    if done["fingerprint"] == "new":
        assert [p.name for p in (tmp_path / "stages").iterdir()] == ["x"]


@pytest.mark.parametrize("instant", range(8))
def test_a_kill_or_a_failure_while_models_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: int
) -> None:
    run = RunFolder(tmp_path)

    def write(text: str) -> None:
        write_json(run.stage("x") / "model" / "config.json", {"text": text})
        write_json(run.stage("x") / "report.json", {"text": text})

    write("old")
    publish(run, ["x"])
    write("new")
    left, real = [instant], os.fsync

    def fsync(handle: int) -> None:
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    try:
        publish(run, ["x"])
    except Exception:
        assert read_json(run.models["x"] / "config.json")["text"] in ("old", "new")
        assert run.report["text"] in ("old", "new")
    monkeypatch.undo()
    publish(run, ["x"])
    assert read_json(run.models["x"] / "config.json") == run.report == {"text": "new"}
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["x"]
    assert json.loads((tmp_path / "report.json").read_text()) == {"text": "new"}
