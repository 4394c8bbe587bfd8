"""Several turns with tools: the policy calls Python functions and reads what they give, until it answers without one.

Calls stand in the text as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`. What goes wrong in a call is told
to the policy as the call's result, and counted (`tools/failed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.environments import _tools
from penchant.environments.text import Reply
from penchant.errors import InputError
from penchant.records import Prompt

__all__ = ["MultiTurn", "Options", "build"]


class Options(BaseModel, extra="forbid", arbitrary_types_allowed=True):
    """Tools, and how long an episode may be."""

    tools: list[str | Callable[..., Any]] = Field(min_length=1, description="path.py:function, module:function, ...")
    turns: int = Field(4, ge=1, description="turns of the policy at most")
    seconds: float | None = Field(60.0, gt=0, description="of an episode at most; null for no limit")
    call_seconds: float = Field(5.0, gt=0, description="of one call at most")
    call_reward: float = Field(0.0, description="for each call that gave a result, in its turn")
    failed_reward: float = Field(0.0, description="for each call that failed, in its turn (below 0 to punish)")


class MultiTurn:
    """A dialogue with tools."""

    def __init__(self, options: Options):
        self.options, self.turns, self.seconds = options, options.turns, options.seconds
        found = [_tools.load(spec, options.call_seconds) for spec in options.tools]
        self._tools = {tool.name: tool for tool in found}
        if len(self._tools) < len(found):
            raise InputError("two tools have the same name", "name them apart")
        self.tools: Sequence[Mapping[str, Any]] = _tools.schemas(found)

    def respond(self, prompt: Prompt, messages: Sequence[Mapping[str, Any]], text: str) -> Reply:
        """The results of a turn's calls, a message of the tool each; a turn without calls is the answer."""
        made = _tools.calls(text)
        if not made:
            return Reply()
        results = [self._result(call) for call in made]
        failed = sum(not well for well, _ in results)
        return Reply(
            [{"role": "tool", "content": content} for _, content in results],
            self.options.call_reward * (len(made) - failed) + self.options.failed_reward * failed,
            {"tools/calls": float(len(made)), "tools/failed": float(failed)},
        )

    def _result(self, call: _tools.Call) -> tuple[bool, str]:
        problem = call.problem
        if not problem and call.name not in self._tools:
            problem = f"there is no function {call.name}, only {', '.join(self._tools)}"
        if problem:
            return False, f"error: {problem}"
        try:
            return True, self._tools[call.name](call.arguments)
        except Exception as error:  # a tool is the user's own, and a wrong call must not end the run
            return False, f"error: {type(error).__name__}: {error}"


def build(options: Options, context: Context) -> MultiTurn:
    """The environment."""
    return MultiTurn(options)
