"""Python functions as tools: their JSON schemas, the calls that a text makes, and what comes of them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penchant.errors import InputError

__all__ = ["Call", "Tool", "calls", "load"]

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class Tool:
    """A function that a policy may call.

    Attributes:
        schema: its JSON schema, as chat templates and the OpenAI API take it.
        seconds: that a call may take.
    """

    name: str
    function: Callable[..., Any]
    schema: Mapping[str, Any]
    seconds: float

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """What the function gives, as text.

        Raises:
            Exception: what the function raised; TimeoutError where it took too long (its thread is left behind).
        """
        found: list[Any] = []

        def work() -> None:
            try:
                found.append((True, self.function(**arguments)))
            except Exception as error:
                found.append((False, error))

        thread = threading.Thread(target=work, daemon=True, name=f"tool {self.name}")
        thread.start()
        thread.join(self.seconds)
        if not found:
            raise TimeoutError(f"no answer within {self.seconds:g} seconds")
        well, value = found[0]
        if not well:
            raise value
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class Call:
    """A call in a text, or what is wrong with it.

    Attributes:
        problem: why there is none; empty for a good one.
    """

    name: str
    arguments: Mapping[str, Any]
    problem: str = ""


def calls(text: str) -> list[Call]:
    """The calls in a text, in order: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""
    return [_read(match[1]) for match in _CALL.finditer(text)]


def _read(body: str) -> Call:
    try:
        value = json.loads(body)
    except ValueError as error:
        return Call("", {}, f"the call is no JSON ({error})")
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return Call("", {}, "the call has no name")
    arguments = value.get("arguments", {})
    if not isinstance(arguments, dict):
        return Call(value["name"], {}, "the arguments are no JSON object")
    return Call(value["name"], arguments)


def load(spec: str | Callable[..., Any], seconds: float) -> Tool:
    """A tool from `path.py:function`, `package.module:function`, or a function itself.

    Raises:
        InputError: there is no such function, or it has no types or no docstring that a schema can be made of.
    """
    function = spec if callable(spec) else _found(spec)
    from transformers.utils import get_json_schema
    from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException

    name = getattr(function, "__name__", str(spec))
    try:
        schema = get_json_schema(function)
    except (DocstringParsingException, TypeHintParsingException) as error:
        raise InputError(
            f"tool {name} cannot be described ({' '.join(str(error).split())[:160]})",
            "give each argument a type and a line under `Args:` in the docstring",
        ) from error
    return Tool(name, function, schema, seconds)


def _found(spec: str) -> Callable[..., Any]:
    place, colon, name = spec.rpartition(":")
    mend = "write path.py:function or package.module:function"
    if not colon:
        raise InputError(f"tool {spec!r} names no function", mend)
    try:
        if place.endswith(".py"):
            made = importlib.util.spec_from_file_location(f"penchant_tools_{Path(place).stem}", place)
            assert made is not None and made.loader is not None
            module = importlib.util.module_from_spec(made)
            made.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        function = getattr(module, name)
    except (OSError, ImportError, AttributeError) as error:
        raise InputError(f"tool {spec!r} cannot be loaded ({error})", mend) from error
    if not callable(function):
        raise InputError(f"tool {spec!r} is no function", mend)
    return function  # type: ignore[no-any-return]


def schemas(tools: Sequence[Tool]) -> list[Mapping[str, Any]]:
    """Of each."""
    return [tool.schema for tool in tools]
