"""Share of a row's tests that a completion's Python code passes, run where it can do no harm.

Each completion runs in a process of its own: no network, a read-only file system but for an empty folder, limits of
time, memory, file size and processes; by Linux namespaces (`unshare`). Where these cannot be had it refuses, unless
told `sandbox: off`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError
from penchant.machine import cores
from penchant.records import Completion, Prompt
from penchant.rewards._columns import column
from penchant.rewards._sandbox import Limits, passed, usable

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """Where the tests stand, and what code may take."""

    column: str = Field("tests", description="the row's column: a list of Python statements, or one text of them")
    with_prompt: bool = Field(True, description="the prompt's text stands before the completion")
    seconds: float = Field(5.0, gt=0, le=600, description="for all tests of a completion")
    memory_mb: int = Field(512, ge=64, description="address space")
    sandbox: Literal["on", "off"] = Field("on", description="off: code runs as you do, with the same limits alone")


def build(options: Options, context: Context) -> Callable[..., list[float | None]]:
    """The reward, in [0, 1]; None for a row without tests.

    Raises:
        InputError: there is no sandbox here.
    """
    if options.sandbox == "on" and (why := usable()):
        raise InputError(
            f"code cannot be shut in here ({why})", "run on Linux with user namespaces, or trust it with sandbox=off"
        )
    limits = Limits(options.seconds, options.memory_mb, options.sandbox == "on")

    def one(prompt: Prompt, completion: Completion) -> float | None:
        tests = column(prompt, options.column, "unit_tests")
        tests = [tests] if isinstance(tests, str) else list(tests)
        if not tests:
            return None
        code = (prompt.text if options.with_prompt else "") + completion.text
        return passed(code, [str(test) for test in tests], limits) / len(tests)

    def score(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        with ThreadPoolExecutor(cores()) as pool:  # they wait for processes
            return list(pool.map(one, prompts, completions))

    return score
