"""Runs: what is done, what is not done again, and what is left when something fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penchant import api
from penchant.errors import OptionError, StageFailed
from penchant.files import read_json
from penchant.runs.executor import execute
from penchant.runs.layout import RunFolder
from penchant.runs.recipe import load_recipe
from penchant.runs.resolved import fingerprints, resolved_threads


def steps(run: RunFolder, stage: str) -> list[str]:
    """Steps that a stage has counted, over all its attempts."""
    return [line.split()[0] for line in (run.stage(stage) / "steps.txt").read_text().splitlines()]


def pids(run: RunFolder) -> dict[str, str]:
    return {
        p.parent.name: p.read_text() for p in (run.path / "stages").glob("*/steps.txt") if p.parent.suffix != ".new"
    }


def test_a_run_leaves_its_story(chain: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    chain["stages"]["c"]["model"] = True
    run = api.run(chain)
    assert run.path == Path("runs/chain")
    done = run.done("c")
    assert done is not None
    assert done["summary"] == {"steps": 3, "threads": "1"}
    assert done["seconds"] > 0
    assert not (run.stage("c") / "attempt.json").exists()
    recipe = read_json(run.recipe_file)
    assert recipe["stages"]["a"]["options"]["steps"] == 3
    assert recipe["origins"]["a.steps"] == "default"
    assert recipe["threads"] == {"a": 1, "b": 1, "c": 1}
    environment = read_json(run.environment_file)
    assert {"versions", "python", "platform", "cpu", "cores", "git", "started", "threads"} <= set(environment)
    timing = read_json(run.timing_file)
    assert timing["total"] >= max(stage["seconds"] for stage in timing["stages"].values())
    assert read_json(run.models["c"] / "config.json")["text"].startswith("x 5 1")
    log = run.log_file.read_text()
    assert "a library that prints" in log
    assert "counted to 3" in log
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "a: counted to 3" in captured.err


def test_nothing_is_done_twice(chain: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    before = pids(api.run(chain))
    capsys.readouterr()
    assert pids(api.run(chain)) == before
    assert "stage b: up to date" in capsys.readouterr().err


def test_from_a_stage_does_it_and_its_dependents_again(chain: dict[str, Any]) -> None:
    before = pids(api.run(chain))
    after = pids(api.run(chain, redo=["b"]))
    assert [name for name in "abc" if before[name] != after[name]] == ["b", "c"]
    with pytest.raises(OptionError, match="no stage named 'd'"):
        api.run(chain, redo=["d"])


def test_changed_options_get_a_folder_of_their_own(chain: dict[str, Any]) -> None:
    first = api.run(chain)
    second = api.run(chain, {"b.text": "y"})
    assert second.path == Path("runs/chain-2")
    assert api.run(chain).path == first.path
    assert api.run(chain, {"b.text": "y"}).path == second.path
    assert api.run(chain, seed=6).path == Path("runs/chain-3")


def test_a_given_folder_is_run_in_place(chain: dict[str, Any]) -> None:
    before = pids(api.run(chain, run_dir="here"))
    run = api.run(chain, {"b.text": "y"}, run_dir="here")
    after = pids(run)
    assert [name for name in "abc" if before[name] != after[name]] == ["b", "c"]
    assert (run.stage("c") / "result").read_text().count("y 5 1") == 1


def test_only_some_stages(chain: dict[str, Any]) -> None:
    run = api.run(chain, only=["b"])
    assert run.done("b")
    assert not run.done("c")


def test_input_files_count(chain: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one.txt").write_text("1")
    chain["stages"]["a"]["path"] = "data"
    before = pids(api.run(chain))
    assert pids(api.run(chain)) == before
    (tmp_path / "data/one.txt").write_text("2")
    after = pids(api.run(chain))
    assert [name for name in "abc" if before[name] != after[name]] == ["a", "b", "c"]


def test_a_folder_can_be_an_input(chain: dict[str, Any]) -> None:
    run = api.run(chain)
    alone = {"name": "alone", "stages": {"b": {**chain["stages"]["b"], "inputs": {"in": str(run.stage("a"))}}}}
    recipe = load_recipe(alone)
    threads = resolved_threads(recipe, RunFolder(Path("nowhere")))
    assert execute(recipe).done("b")["fingerprint"] == fingerprints(recipe, threads)["b"]  # type: ignore[index]


def test_stages_run_at_once_as_far_as_the_cores_reach(chain: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "bc":
        chain["stages"][name] |= {"inputs": {"in": "a"}, "delay": 0.1, "steps": 8}
    for count, overlap in ((2, True), (1, False)):
        monkeypatch.setattr("penchant.runs.executor.cores", lambda count=count: count)
        run = api.run(chain, run_dir=f"cores{count}")
        (b0, b1), (c0, c1) = (run.done(name)["spans"][0] for name in "bc")  # type: ignore[index]
        assert (max(b0, c0) < min(b1, c1)) is overlap
        total = read_json(run.timing_file)["total"]
        assert (total < b1 - b0 + c1 - c0) is overlap


def test_threads_stay_what_they_were(
    chain: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain["stages"]["a"]["threads"] = "auto"
    for module in ("executor", "resolved"):
        monkeypatch.setattr(f"penchant.runs.{module}.cores", lambda: 2)
    before = pids(api.run(chain))
    for module in ("executor", "resolved"):
        monkeypatch.setattr(f"penchant.runs.{module}.cores", lambda: 1)
    capsys.readouterr()
    run = api.run(chain)
    assert pids(run) == before
    assert "begun with 2 cores, now there are 1" in capsys.readouterr().err
    assert run.recipe()["threads"]["a"] == 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("fail", "code", "line"),
    [
        ("input", 4, "stage b: data.csv, row 2: no usable row in 3; give better data"),
        ("crash", 1, "stage b: ValueError: a bug in two lines; the traceback is in runs/chain/log.txt"),
        ("full", 1, "stage b: some.file: the disk is full"),
        ("memory", 1, "stage b: out of memory"),
        ("killed", 1, "stage b: was killed by SIGKILL"),
        ("silent", 1, "stage b: ended without a result; see runs/chain/log.txt"),
    ],
)
def test_a_failure_is_one_line(
    chain: dict[str, Any], fail: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chain["stages"]["b"]["fail"] = fail
    with pytest.raises(StageFailed) as failure:
        api.run(chain)
    assert failure.value.exit_code == code
    told = [text for text in capsys.readouterr().err.splitlines() if text.startswith("penchant:")]
    assert len(told) == 1
    assert told[0].startswith(f"penchant: {line}")
    run = RunFolder(Path("runs/chain"))
    assert run.done("a")
    assert not run.done("b")
    assert not run.stage("c").exists()
    assert ("Traceback" in run.log_file.read_text()) is (fail in ("crash", "memory"))


def test_bad_input_leaves_earlier_results(chain: dict[str, Any]) -> None:
    run = api.run(chain, run_dir="here")
    before, recipe = pids(run), run.recipe()
    with pytest.raises(StageFailed):
        api.run(chain, {"b.fail": "input"}, run_dir="here")
    assert pids(run) == before
    assert run.recipe() == recipe
    assert pids(api.run(chain, run_dir="here")) == before


def test_a_crash_keeps_the_earlier_result_until_it_is_replaced(chain: dict[str, Any]) -> None:
    run = api.run(chain, run_dir="here")
    before = pids(run)
    with pytest.raises(StageFailed):
        api.run(chain, {"b.fail": "crash"}, run_dir="here")
    assert pids(api.run(chain, run_dir="here")) == before


def test_a_failure_ends_the_others_which_go_on_later(chain: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.runs.executor.cores", lambda: 2)
    chain["stages"]["b"] |= {"inputs": {}, "fail": "crash", "delay": 1.0}
    chain["stages"]["c"] |= {"inputs": {}, "delay": 0.05, "steps": 60}
    del chain["stages"]["a"]
    with pytest.raises(StageFailed):
        api.run(chain, run_dir="here")
    count = len(steps(RunFolder(Path("here")), "c"))
    assert count < 60
    run = api.run(chain, {"b.fail": "", "b.delay": 0}, run_dir="here")
    assert steps(run, "c") == [str(n) for n in range(1, 61)]
    assert len(run.done("c")["spans"]) == 2  # type: ignore[index]


def test_models_are_replaced_whole(chain: dict[str, Any]) -> None:
    chain["stages"]["c"]["model"] = True
    api.run(chain, run_dir="here")
    run = api.run(chain, {"c.text": "new"}, run_dir="here")
    assert read_json(run.models["c"] / "config.json")["text"].startswith("new")
    assert [p.name for p in (run.path / "models").iterdir()] == ["c"]


def test_the_report_knows_the_times(chain: dict[str, Any]) -> None:
    run = api.run(chain)
    timing = json.loads(run.timing_file.read_text())
    assert set(timing["stages"]) == {"a", "b", "c"}
    assert timing["stages"]["a"].keys() == {"kind", "seconds"}
