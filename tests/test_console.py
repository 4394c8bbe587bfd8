"""What is printed where, and that printing cannot fail."""

from __future__ import annotations

import io
import json

import pytest

from penchant import console


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """This process as the child of a run."""
    events = io.StringIO()
    monkeypatch.setattr(console, "_events", events)
    monkeypatch.setattr(console, "_stage", "mle")
    monkeypatch.setattr(console, "_last", float("-inf"))
    return events


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    found = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: found[0])
    return found


def test_progress_and_notes_of_a_child_are_events(child: io.StringIO) -> None:
    console.report_progress(1, 10, loss=0.5, tokens_per_second=float("nan"))
    console.report_progress(2, 10, loss=0.4)  # too soon
    console.report_progress(10, 10, loss=0.1)  # the last is always told
    console.note("half way")
    found = [json.loads(line) for line in child.getvalue().splitlines()]
    assert found == [
        {"event": "progress", "stage": "mle", "step": 1, "steps": 10, "loss": 0.5, "tokens_per_second": None},
        {"event": "progress", "stage": "mle", "step": 10, "steps": 10, "loss": 0.1},
        {"event": "note", "stage": "mle", "text": "half way"},
    ]


def test_progress_outside_a_run_costs_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.report_progress(1, 10, loss=0.5)
    assert capsys.readouterr() == ("", "")


def test_a_parent_that_has_gone_is_no_failure(monkeypatch: pytest.MonkeyPatch, child: io.StringIO) -> None:
    child.close()
    console.report_progress(1, 10)
    console.note("x")


def test_notes_and_errors_go_to_stderr_data_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("talk")
    console.error("wrong; mend it")
    console.data({"é": 1})
    out, err = capsys.readouterr()
    assert err == "talk\npenchant: wrong; mend it\n"
    assert json.loads(out) == {"é": 1}


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("file \x1b[2Jname\udcff")
    assert capsys.readouterr().err == "file \\x1b[2Jname\\udcff\n"


def test_tables_are_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([("a", 1), ("long", None)], ("name", "n"))
    assert capsys.readouterr().out == "name  n\na     1\nlong\n"


def test_plain_where_nothing_should_move(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.plain(io.StringIO())
    assert not console.plain(Terminal())
    for name, value in (("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert console.plain(Terminal())


def test_the_board_says_a_line_now_and_then(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.Board() as board:
        board.start("mle")
        for step in range(1, 41):
            now[0] += 1.0
            board.update("mle", step, 100, {"loss": 1.23456, "tokens_per_second": 12345.6})
        board.finish("mle", "finished in 40 s")
    assert capsys.readouterr().err.splitlines() == [
        "mle: 15/100, loss 1.23, tokens/s 12,346, 1:25 left",
        "mle: 30/100, loss 1.23, tokens/s 12,346, 1:10 left",
        "mle: finished in 40 s",
    ]


def test_the_time_left_begins_anew_with_the_next_count(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.Board() as board:
        board.start("prepare")
        for step in (0, 50, 99, 0, 10):
            board.update("prepare", step, 100, {})
            now[0] += 10.0
    assert capsys.readouterr().err.splitlines() == ["prepare: 99/100, 0.2 s left", "prepare: 10/100, 1:30 left"]


def test_bars_are_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "plain", lambda stream=None: False)
    monkeypatch.setenv("TERM", "xterm")
    with console.Board() as board:
        board.start("mle")
        board.update("mle", 3, 10, {"loss": 2.0})
        console.note("[bold]not markup[/bold]")
        board.finish("mle", "finished")
    assert "[bold]not markup[/bold]" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (61, "1:01"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert console.clock(seconds) == text
