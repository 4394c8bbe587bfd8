"""Run a recipe: unfinished stages as child processes, at once as far as the cores reach, stopped without loss."""

from __future__ import annotations

import os
import select
import shlex
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from penchant import console
from penchant.errors import InputError, StageFailed, Stopped
from penchant.files import write_json
from penchant.machine import cores
from penchant.runs.choose import same_run, taking_folder
from penchant.runs.layout import RunFolder
from penchant.runs.machine import describe
from penchant.runs.publish import publish
from penchant.runs.recipe import Recipe, Stage
from penchant.runs.resolved import fingerprints, resolved_threads
from penchant.runs.stage_folder import Span
from penchant.runs.worker import Worker
from penchant.runtime.launch import asked_processes, follower

__all__ = ["execute"]

_HEARTBEAT = 10.0  # seconds between two notes of how long an attempt has worked
_GRACE = 60.0  # seconds that a stage has to save before it is ended
_NOTHING_LEFT = (2, 4, 5)  # exit codes of bad input and of corrupt checkpoints: there is no work to go on with


def execute(
    recipe: Recipe, *, redo: Sequence[str] = (), only: Sequence[str] | None = None, command: Sequence[str] = ()
) -> RunFolder:
    """Run what is not finished yet.

    Args:
        redo: stages to do again, with all that depends on them; the same call after an interruption goes on with that.
        only: the stages to finish, with all that they need; None for all.
        command: words of the command line without `run_dir`, to print how to go on; none in a program.

    Raises:
        StageFailed: a stage failed; its line has been printed.
        Stopped: by Ctrl-C or SIGTERM, after saving.
        InputError: called in a process that `torchrun` started beside the one that drives the run.
    """
    if follower():
        raise InputError("the first process drives the run", "call it there, or use processes= without torchrun")
    for name in [*redo, *(only or ())]:
        recipe.stage(name)
    with taking_folder(recipe) as (run, lock):
        session = _Session(recipe, run, lock, recipe.ancestors(list(recipe.stages) if only is None else only))
        session.prepare(redo)
        with console.Board() as board:
            session.work(board, [*command, f"run_dir={run.path}"] if command else [])
    return run


@dataclass
class _Attempt:
    """A stage at work: its process, when earlier attempts worked, and when this one began."""

    worker: Worker
    earlier: list[Span]
    began: float
    noted: float

    def spans(self) -> list[Span]:
        return [*self.earlier, (self.began, max(self.began, time.time()))]


class _Session:
    """One call of `execute`, while it lasts."""

    def __init__(self, recipe: Recipe, run: RunFolder, lock: int, wanted: list[str]):
        self.recipe, self.run, self.lock, self.wanted = recipe, run, lock, wanted
        self.cores = cores()
        self.threads = resolved_threads(recipe, run)
        self.prints = fingerprints(recipe, self.threads)
        self.running: dict[str, _Attempt] = {}
        self.finished: set[str] = set()
        self.ran: list[str] = []
        self.failed: tuple[str, int, str] | None = None
        self.idle_since = time.time()
        self.signal, self.signalled = 0, 0.0
        self.previous, self.previous_again = run.recipe(), run.again()

    def prepare(self, redo: Sequence[str]) -> None:
        """Write what the run is, and find out what is left to do."""
        run, saved = self.run, self.previous
        if saved and saved.get("cores", self.cores) != self.cores and same_run(self.recipe, saved):
            console.note(
                f"begun with {saved['cores']} cores, now there are {self.cores}: "
                "the numbers of threads stay as they were, so that the results do too"
            )
        recipe = {
            "name": self.recipe.name,
            "source": self.recipe.source,
            **self.recipe.identity(),
            "threads": self.threads,
            "cores": saved.get("cores", self.cores) if saved else self.cores,
            "origins": dict(self.recipe.origins),
        }
        if recipe != saved:
            write_json(run.recipe_file, recipe)
        self._describe()
        for name in self.recipe.stages:
            run.place(name).settle()
        run.make_again(redo, self.recipe.dependents(redo), self.prints)
        pending = [name for name in run.pending(self.prints) if name in self.wanted]
        if pending and not redo:
            console.note(f"to be made again, as --from asked: {', '.join(pending)} (earlier results stand until then)")
        for name in self.wanted:
            if run.state(name, self.prints[name]) == "up to date":
                run.place(name).discard()
                self.finished.add(name)
                console.note(f"stage {name}: up to date")

    def _describe(self) -> None:
        """`environment.json`: where the run began, and a line for each time it went on elsewhere."""
        from penchant.files import read_json

        found = describe(self.threads)
        file = self.run.environment_file
        if file.exists():
            first = read_json(file)
            again = {key: found[key] for key in ("started", "cores", "cpu", "python", "versions")}
            found = {**first, "resumed": [*first.get("resumed", []), again][-100:]}
        write_json(file, found)

    def work(self, board: console.Board, command: list[str]) -> None:
        """Run the stages that are left; returns when all are finished."""
        handlers = self._take_signals()
        try:
            while not self._leaving() and self._start_ready(board):
                self._listen(board)
        finally:
            self._end_all(board)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._close(board, command)

    def _close(self, board: console.Board, command: list[str]) -> None:
        self.run.write_timing({name: stage.kind for name, stage in self.recipe.stages.items()})
        if self.failed is not None:
            name, code, line = self.failed
            self._log(f"{name}: failed: {line}")
            console.error(f"stage {name}: {line}")
            self._put_back(code)
            raise StageFailed(name, code)
        if self.signal:
            line = shlex.join(["penchant", *command])
            raise Stopped(self.signal, f"go on with: {line}" if command else "the same call goes on")
        publish(self.run, [name for name in self.recipe.stages if name in self.finished])
        self.run.made_again()

    def _put_back(self, code: int) -> None:
        """Where every earlier result stands, so does what says how it was made."""
        if self.ran or self.previous is None:
            return
        if self.run.recipe() != self.previous:
            write_json(self.run.recipe_file, self.previous)
        if code in _NOTHING_LEFT:
            self.run.note_again(self.previous_again)

    def _leaving(self) -> bool:
        return bool(self.signal or self.failed)

    def _start_ready(self, board: console.Board) -> bool:
        """Start what can start now; whether anything is at work."""
        for name in self.wanted:
            if self._leaving():
                break
            stage = self.recipe.stages[name]
            needs = [feeder for feeder in stage.inputs.values() if feeder in self.recipe.stages]
            if name in self.finished or name in self.running or not self.finished.issuperset(needs):
                continue
            used = sum(attempt.worker.threads for attempt in self.running.values())
            if used == 0 or used + self.threads[name] <= self.cores:
                self._start(stage, board)
        return bool(self.running)

    def _start(self, stage: Stage, board: console.Board) -> None:
        name, run, processes = stage.name, self.run, self.recipe.processes_of(stage)
        if stage.kind == "report":
            run.write_timing({n: s.kind for n, s in self.recipe.stages.items() if s.kind != "report"})
        going_on = run.state(name, self.prints[name]) == "go on"
        earlier = run.place(name).begin(self.prints[name])
        spec = {
            "stage": name,
            "module": stage.module.__file__ if stage.kind.endswith(".py") else stage.kind,
            "folder": str(run.place(name).attempt.resolve()),
            "inputs": {
                role: str(run.stage(feeder).resolve()) if feeder in self.recipe.stages else feeder
                for role, feeder in stage.inputs.items()
            },
            "seed": self.recipe.seed,
            "threads": max(1, self.threads[name] // processes),
            "options": stage.options.model_dump(mode="json"),
            "log": str(run.log_file),
        }
        now = time.time()
        # What passed between two stages belongs to the later one, so that the times add up to the whole run.
        began = now if self.running else min(self.idle_since, now)
        self.running[name] = _Attempt(Worker(spec, self.lock, run.log_file, processes), earlier, began, now)
        run.place(name).mark(self.prints[name], self.running[name].spans())
        board.start(name)
        several = f", processes: {processes}" if processes > 1 else ""
        self._log(f"{name}: {'goes on' if going_on and earlier else 'starts'}, threads: {self.threads[name]}{several}")

    def _listen(self, board: console.Board) -> None:
        """Wait a moment for events, show them, and see who has ended."""
        handles = [handle for attempt in self.running.values() for handle in attempt.worker.handles()]
        select.select(handles, [], [], 0.25)
        for name, attempt in list(self.running.items()):
            for event in attempt.worker.events():
                self._show(board, event)
            attempt.worker.watch()
            if attempt.worker.finished:
                self._ended(name, board)
        now = time.time()
        for name, attempt in self.running.items():
            if now - attempt.noted > _HEARTBEAT:
                attempt.noted = now
                self.run.place(name).mark(self.prints[name], attempt.spans())

    def _show(self, board: console.Board, event: dict[str, Any]) -> None:
        stage = event.pop("stage")
        if event.pop("event") == "progress":
            board.update(stage, event.pop("step"), event.pop("steps"), event)
        else:
            self._log(f"{stage}: {event['text']}")
            board.note(f"{stage}: {event['text']}")

    def _ended(self, name: str, board: console.Board) -> None:
        attempt = self.running.pop(name)
        worker, spans, kind = attempt.worker, attempt.spans(), self.recipe.stages[name].kind
        code = worker.wait()
        self.idle_since = time.time()
        taken = console.clock(sum(end - begin for begin, end in spans))
        if code == 0 and worker.reported:
            self.run.place(name).finish(kind, self.prints[name], worker.summary, spans)
            self.finished.add(name)
            self.ran.append(name)
            self._log(f"{name}: finished after {taken}")
            board.finish(name, f"finished in {taken}")
            return
        self.run.place(name).mark(self.prints[name], spans)
        board.finish(name, "stopped" if self._leaving() else f"ended after {taken}")
        self._log(f"{name}: ended with exit code {code} after {taken}")
        if not self._leaving() or (worker.failure and not self.failed):
            self._fail(name, code, worker)

    def _fail(self, name: str, code: int, worker: Worker) -> None:
        if worker.failure is not None:
            line, code = worker.failure
        elif code < 0:
            killer = signal.Signals(-code).name
            line = f"was killed by {killer}; if memory was short, take a smaller batch, else start it again"
            code = 1
        elif code in (130, 143):
            line = "was stopped from outside; the same command goes on"
        else:
            line, code = f"ended without a result; see {self.run.log_file}", code or 1
        self.failed = (name, code, line)

    def _take_signals(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        return {
            number: signal.signal(number, self._signalled)
            for number in numbers
            if signal.getsignal(number) is not signal.SIG_IGN
        }

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            if asked_processes() is not None and time.monotonic() - self.signalled < 2:
                return  # of torchrun, which sends on what the terminal has sent to all
            for attempt in self.running.values():
                attempt.worker.send(signal.SIGKILL)
            console.reset()
            os._exit(128 + number)
        self.signal, self.signalled = number, time.monotonic()
        self._stop_all()

    def _stop_all(self) -> None:
        for attempt in list(self.running.values()):
            attempt.worker.stop(signal.SIGINT if self.signal == signal.SIGINT else signal.SIGTERM)

    def _end_all(self, board: console.Board) -> None:
        """Give those that still work the time to save, then end them."""
        if not self.running:
            return
        if self.signal:
            board.note("stopping: the stages save their state (again Ctrl-C: leave at once)")
        self._stop_all()
        until = time.monotonic() + _GRACE
        while self.running and time.monotonic() < until:
            self._listen(board)
        for name in list(self.running):
            self.running[name].worker.kill()
            self._ended(name, board)

    def _log(self, text: str) -> None:
        with open(self.run.log_file, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
