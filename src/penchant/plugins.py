"""Plug-ins from a recipe's entries `{name, ...options}`, with options checked; and the context they are built in."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from penchant import registry
from penchant.contracts import Context
from penchant.errors import InputError

__all__ = ["build_context", "checked", "plug"]


def plug(kind: str, entry: Mapping[str, Any], context: Context) -> Any:
    """Build the plug-in of a recipe entry `{name, ...options}`.

    Raises:
        InputError: there is no such plug-in; an option is unknown or has the wrong type.
    """
    module, options = checked(kind, entry)
    return module.build(options, context)


def checked(kind: str, entry: Mapping[str, Any]) -> tuple[ModuleType, Any]:
    """The module of a recipe entry `{name, ...options}` and its options (None, if it takes none).

    Raises:
        InputError: as `plug`.
    """
    from pydantic import ValidationError

    entry = _adapted(kind, entry)
    name = entry["name"]
    module = registry.load(kind, name)
    given = {k: v for k, v in entry.items() if k not in ("name", "weight")}
    what = f"{kind.removesuffix('s')} {name}"
    if not hasattr(module, "Options"):
        if given:
            raise InputError(f"{what} takes no options, not {', '.join(given)}", "leave them out")
        return module, None
    try:
        return module, module.Options(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = f" option {'.'.join(map(str, first['loc']))}:" if first["loc"] else ""
        raise InputError(
            f"{what}:{place} {str(first['msg']).removeprefix('Value error, ')}",
            f"its options are {', '.join(module.Options.model_fields) or 'none'}",
        ) from error


def _adapted(kind: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """A reward's entry that names a signal or a metric (`signal:style`, `metric:rouge`, `rouge`) as its adapter's."""
    name = str(entry["name"])
    if kind != "rewards" or name.endswith(".py"):
        return entry
    room, _, inner = name.partition(":")
    if not inner and name not in registry.names("rewards") and name in registry.names("metrics"):
        room, inner = "metric", name
    if room not in ("signal", "metric") or not inner:
        return entry
    known = {*registry.load("rewards", room).Options.model_fields, "weight"}
    rest = {k: v for k, v in entry.items() if k != "name"}
    own = {**rest.pop("options", {}), **{k: rest.pop(k) for k in list(rest) if k not in known}}
    return {**rest, "name": room, room: inner, "options": own}


def build_context(seed: int, tokenizer: Any, task: Mapping[str, Any]) -> Context:
    """A context whose task is built, and that can build further plug-ins."""
    base = Context(seed=seed, tokenizer=tokenizer)
    base = Context(seed=seed, tokenizer=tokenizer, build=lambda kind, name, o: plug(kind, {"name": name, **o}, base))
    return Context(seed=seed, tokenizer=tokenizer, task=plug("tasks", task, base), build=base.build)
