"""A tiny stage that several processes run together: each step they add numbers; fails in one of them as it is told."""

from __future__ import annotations

import os
import time
from typing import Any, Literal

from pydantic import BaseModel

from penchant.contracts import StageContext
from penchant.errors import DataRejected, Stopped
from penchant.files import write_text
from penchant.runtime.mesh import Mesh

PROCESSES = True


class Options(BaseModel, extra="forbid"):
    """Options of the stage."""

    steps: int = 3
    delay: float = 0.0
    fail: Literal["", "input", "crash", "killed"] = ""
    fail_in: int = 1
    fail_once: bool = False


def run(options: Options, context: StageContext) -> dict[str, Any]:
    mesh = Mesh(context.threads, "cpu")
    file = context.folder / "count"
    count = mesh.told(int(file.read_text()) if file.exists() else 0)
    write_text(context.folder / f"pid-{mesh.place.rank}", str(os.getpid()))
    total = 0.0
    for step in range(count + 1, options.steps + 1):
        time.sleep(options.delay)
        if mesh.place.rank == options.fail_in and step == 2:
            _fail(options, context)
        total = mesh.sum({"n": float(mesh.place.rank + 1)})["n"]
        if mesh.first:
            write_text(file, str(step))
        if number := mesh.most(context.stop()):
            raise Stopped(number)
    context.note(f"process {mesh.place.rank} is done")
    mesh.close()
    return {"total": total, "threads": context.threads, "begun_at": count, **mesh.summary()}


def _fail(options: Options, context: StageContext) -> None:
    once = context.folder / "failed"
    if options.fail_once and once.exists():
        return
    write_text(once, "")
    if options.fail == "input":
        raise DataRejected("no usable row in 3", "give better data", file="data.csv", row=2)
    if options.fail == "crash":
        raise ValueError("a bug")
    if options.fail == "killed":
        os.kill(os.getpid(), 9)
