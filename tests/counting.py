"""A tiny stage for tests: counts to a number, goes on where it was, and fails in the way it is told to."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from penchant import console
from penchant.contracts import StageContext
from penchant.errors import DataRejected, Stopped
from penchant.files import write_json, write_text


class Shape(BaseModel, extra="forbid"):
    """A nested model, to have dotted keys."""

    width: int = 3
    kind: Literal["round", "square"] = "round"


class Options(BaseModel, extra="forbid"):
    """Options of the stage."""

    steps: int = 3
    delay: float = 0.0
    text: str = "x"
    fail: Literal["", "input", "crash", "killed", "full", "memory", "silent"] = ""
    trap: str = ""  # a file that says how to fail, where it is there
    path: str | None = None
    learning_rate: float = 0.1
    batch_size: int = 4
    shape: Shape = Shape()
    free: dict[str, Any] = {}
    polite: bool = True
    model: bool = False


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    return {"tokens": options.steps, "seconds": 10.0, "parameters": 1000, "memory": 2_000_000, "disk": 3_000_000}


def run(options: Options, context: StageContext) -> dict[str, Any]:
    trap = Path(options.trap)
    _fail(trap.read_text() if options.trap and trap.is_file() else options.fail, options.delay)
    print("a library that prints")
    file = context.folder / "count"
    count = int(file.read_text()) if file.exists() else 0
    for step in range(count + 1, options.steps + 1):
        time.sleep(options.delay)
        write_text(file, str(step))
        with open(context.folder / "steps.txt", "a") as handle:
            handle.write(f"{step} {os.getpid()}\n")
        console.report_progress(step, options.steps, loss=1 / step)
        if options.polite and (number := context.stop()):
            raise Stopped(number)
    inputs = {role: (folder / "result").read_text() for role, folder in context.inputs.items()}
    text = f"{options.text} {context.seed} {context.threads} {sorted(inputs.items())}"
    write_text(context.folder / "result", text)
    if options.model:
        write_json(context.folder / "model" / "config.json", {"text": text})
    context.note(f"counted to {options.steps}")
    return {"steps": options.steps, "threads": os.environ["OMP_NUM_THREADS"]}


def _fail(how: str, delay: float) -> None:
    if how == "input":
        raise DataRejected("no usable row in 3", "give better data", file="data.csv", row=2)
    if how == "crash":
        time.sleep(delay)
        raise ValueError("a bug\nin two lines")
    if how == "full":
        raise OSError(28, "No space left on device", "some.file")
    if how == "memory":
        raise MemoryError
    if how == "killed":
        os.kill(os.getpid(), 9)
    if how == "silent":
        sys.stdout.flush()
        os._exit(0)
