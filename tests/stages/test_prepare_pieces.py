"""Pieces: the same bytes whoever works, what is finished is not done again, and memory that does not grow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from penchant.contracts import StageContext
from penchant.data import pieces
from penchant.data.work import Work
from penchant.errors import DataRejected, DiskFull, Stopped
from penchant.stages import prepare
from penchant.stages._steps import Steps

OPTIONS: dict[str, Any] = {"signals": ["readability"], "segment": "sentence", "pii": "reversible", "max_documents": 90}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of rows with bad, empty, repeated and nearly repeated ones, cut into pieces of 10."""
    monkeypatch.setattr(pieces, "_ROWS", 10)
    monkeypatch.setattr(prepare, "_WORTH_A_PROCESS", 1)
    (tmp_path / "data").mkdir()
    words = [f"word{k}" for k in range(300)]
    for name in ("a", "b"):
        lines = []
        for k in range(60):
            at = k % 55
            text = ". ".join(" ".join(words[(at * j + j) % 290 :][:8]) for j in range(2, 9)) + f". I am {name} {at}."
            if k % 7 == 3:
                text = json.loads(lines[-1])["text"] + " More."
            elif k % 5 == 0:
                text = f"Write to me{k}@example.org. {text}"
            lines.append(json.dumps({"text": text, "n": k if k % 9 else f"{k}", "mail": None}))
        lines[20] = json.dumps({"text": " "})
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def context(folder: Path, stop: Any = lambda: 0) -> StageContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StageContext("prepare", folder, {}, 1, 1, stop, lambda text: None)


def run(rows: Path, name: str, stop: Any = lambda: 0, **options: Any) -> Path:
    chosen = prepare.Options(path=str(rows / "data"), **(OPTIONS | options))
    prepare.run(chosen, context(rows / name, stop))
    return rows / name


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_bytes_whoever_works(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = written(run(rows, "one", workers=1))
    assert written(run(rows, "two", workers=2)) == one
    summary = json.loads(one["summary.json"])
    assert summary["documents"]["kept"] <= 90
    assert {"empty", "near duplicate", "exact duplicate"} <= set(summary["drops"])
    assert (rows / "two" / "pii.jsonl").stat().st_mode & 0o77 == 0
    monkeypatch.setattr(pieces, "_ROWS", 100_000)  # where pieces end changes the file's row groups, and nothing else
    whole = written(run(rows, "whole", workers=1))
    assert {k: v for k, v in whole.items() if k.endswith("json")} == {
        k: v for k, v in one.items() if k.endswith("json")
    }
    assert whole["drops.jsonl"] == one["drops.jsonl"]


@pytest.mark.parametrize("step", ["clean", "score"])
def test_what_is_finished_is_not_done_again(rows: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    alone = written(run(rows, "alone", workers=1))
    calls: list[str] = []
    count = lambda self, *args, real=getattr(Steps, step): calls.append(step) or real(self, *args)  # noqa: E731
    monkeypatch.setattr(Steps, step, count)
    asked = lambda: 15 if len(calls) == 4 else 0  # noqa: E731
    with pytest.raises(Stopped):
        run(rows, "again", asked, workers=1)
    assert len(list((rows / "again" / "work").glob(f"{step}*d-*.json"))) >= 3
    before = len(calls)
    again = written(run(rows, "again", workers=1))
    assert again == alone
    total = len(calls)
    calls.clear()
    run(rows, "fresh", workers=1)
    assert total - before <= len(calls) - 3
    assert not (rows / "again" / "work").exists()


def test_other_options_and_changed_files_begin_anew(rows: Path) -> None:
    def stopped(**options: Any) -> None:
        asked = iter([0] * 6)
        with pytest.raises(Stopped):
            run(rows, "out", lambda: next(asked, 15), workers=1, **options)

    stopped()
    first = (rows / "out" / "work" / "identity.json").read_text()
    stopped(min_chars=30)
    assert (rows / "out" / "work" / "identity.json").read_text() != first
    stopped()
    path = rows / "data" / "a.jsonl"
    path.write_text(path.read_text() + json.dumps({"text": "one more row. it is here.", "n": 1}) + "\n")
    assert written(run(rows, "out", workers=1)) == written(run(rows, "fresh", workers=1))


def test_nothing_is_left_after_an_error(rows: Path) -> None:
    with pytest.raises(DataRejected):
        run(rows, "out", text_column="n", workers=1)
    assert not (rows / "out" / "work").exists()


def test_a_full_disk_leaves_what_is_finished(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = written(run(rows, "alone", workers=1))
    real = Work.put

    def full(self: Work, step: str, number: int, *rest: Any) -> None:
        if number == 3:
            raise DiskFull("the disk is full", "free some space")
        real(self, step, number, *rest)

    monkeypatch.setattr(Work, "put", full)
    with pytest.raises(DiskFull):
        run(rows, "out", workers=1)
    assert len(list((rows / "out" / "work").glob("cleaned-*.json"))) == 3
    monkeypatch.setattr(Work, "put", real)
    assert written(run(rows, "out", workers=1)) == alone


KILLED = """
import sys
from pathlib import Path
from penchant.contracts import StageContext
from penchant.data import pieces
from penchant.stages import prepare
pieces._ROWS, prepare._WORTH_A_PROCESS = 10, 1
if __name__ == "__main__":
    options = prepare.Options(**%r)
    folder = Path(sys.argv[1])
    prepare.run(options, StageContext("prepare", folder, {}, 1, 1, lambda: 0, lambda text: None))
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(rows: Path) -> None:
    alone = written(run(rows, "alone", workers=1))
    script = rows / "main.py"
    script.write_text(KILLED % ({"path": str(rows / "data"), "workers": 2} | OPTIONS))
    folder = rows / "killed"
    folder.mkdir()
    for pause in (0.0, 0.05):
        process = subprocess.Popen([sys.executable, str(script), str(folder)], cwd=rows)
        until = time.monotonic() + 60
        while process.poll() is None and not list(folder.glob("work/cleaned-*.json")) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.listdir(folder / "work")
    subprocess.run([sys.executable, str(script), str(folder)], cwd=rows, check=True)
    assert {name: data for name, data in written(folder).items() if not name.startswith(".")} == alone
