"""One turn: the policy answers a prompt, and the episode is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from penchant.contracts import Context
from penchant.environments.text import Reply
from penchant.records import Prompt

__all__ = ["Options", "build"]


class Options(BaseModel, extra="forbid"):
    """None."""


class SingleTurn:
    """A dialogue that says nothing."""

    turns, seconds = 1, None
    tools: Sequence[Mapping[str, Any]] = ()

    def respond(self, prompt: Prompt, messages: Sequence[Mapping[str, Any]], text: str) -> Reply:
        """The end."""
        return Reply()


def build(options: Options, context: Context) -> SingleTurn:
    """The environment."""
    return SingleTurn()
