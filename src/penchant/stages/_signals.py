"""Signals by name from a recipe's entries, and what each says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penchant import registry
from penchant.contracts import Context, Signal
from penchant.errors import OptionError
from penchant.stages._foresee import signal_entry

__all__ = ["about", "build_signals", "with_folders"]


def build_signals(specs: Sequence[str], seed: int = 0) -> dict[str, Signal]:
    """Signals by the name of their scores, from JSON specs (`"style"` or `{"name": "style", "as": "pep8", ...}`).

    Raises:
        InputError: no such signal.
        OptionError: an option is unknown, has the wrong type, or a name comes twice.
        MissingExtra: its library is not installed.
    """
    made: dict[str, Signal] = {}
    for text in specs:
        label, name, options = signal_entry(json.loads(text))
        module = registry.load("signals", name)
        try:
            chosen = module.Options(**options) if hasattr(module, "Options") else options
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            known = ", ".join(module.Options.model_fields)
            raise OptionError(f"signal {name}: {key}: {first['msg']}", f"its options are {known}") from error
        if label in made:
            raise OptionError(f"two signals write the scores {label!r}", "give one of them another name with `as`")
        made[label] = module.build(chosen, Context(seed=seed))
    return made


def with_folders(spec: str | Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, Any]:
    """An entry `{name, ...options}` whose `model`, where it names an input of the stage, is that input's folder."""
    entry = {"name": spec} if isinstance(spec, str) else dict(spec)
    return entry | ({"model": str(inputs[entry["model"]])} if entry.get("model") in inputs else {})


def about(specs: Sequence[str | Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name, options, range, languages and help of each entry, by the name of its scores."""
    told = {}
    for label, name, options in map(signal_entry, specs):
        module = registry.load("signals", name)
        languages = getattr(module, "LANGUAGES", "any")
        told[label] = {
            "name": name,
            "options": options,
            "range": list(getattr(module, "RANGE", (None, None))),
            "languages": languages if isinstance(languages, str) else list(languages),
            "help": (module.__doc__ or "").strip().partition("\n")[0],
        }
    return told
