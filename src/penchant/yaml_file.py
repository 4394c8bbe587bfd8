"""YAML of strangers: read safely, within limits, each key with its line; scalars as YAML 1.2 has them.

So `no` is a word and not False, `1e-3` a number, `12:30` a text. Anchors and aliases are refused: a recipe needs
none, and they are how a small file unfolds into a huge one.
"""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

from penchant.errors import InputError, OptionError

__all__ = ["parse_scalar", "read_yaml"]

MOST_BYTES = 1 << 20
MOST_NODES = 50_000
DEEPEST = 20


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader with the scalars of YAML 1.2's core schema."""

    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("int", r"[-+]?[0-9]+(_[0-9]+)*", "-+0123456789"),
        (
            "float",
            r"[-+]?([0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN)",
            "-+0123456789.",
        ),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
    Loader.add_constructor(
        "tag:yaml.org,2002:int", lambda _, node: int(node.value) if len(node.value) < 40 else node.value
    )
    Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: _float(node.value))
    return Loader


def _float(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


def parse_scalar(text: str, what: str) -> Any:
    """The value of a `key=value`: a scalar, or a list or mapping in YAML's flow style.

    Everything else that YAML would stumble over (`*.py`, `a: b`) is the text itself.
    """
    import yaml

    if len(text) > MOST_BYTES:
        raise OptionError(f"the value of {what} is longer than {MOST_BYTES >> 20} MB", "put it into a recipe")
    stripped = text.strip()
    if stripped[:1] in ("[", "{", '"', "'"):
        try:
            value, _ = _read(stripped, what)
        except OptionError:
            if stripped[0] in "[{":
                raise
            return text
        return value
    if "\n" in stripped:
        return text
    loader = _loader()("")
    tag = loader.resolve(yaml.ScalarNode, stripped, (True, False))
    if tag == "tag:yaml.org,2002:str":
        return text
    return _finite(loader.construct_object(yaml.ScalarNode(tag, stripped)), what)


def read_yaml(path: Path) -> tuple[Any, dict[tuple[str, ...], int]]:
    """A YAML file's value, and the line of each key by its path.

    Raises:
        OptionError: too large, too deep, an anchor or alias, a key twice, a tag, or not YAML.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise OptionError(f"larger than {MOST_BYTES >> 20} MB", "a recipe is a small file", file=path)
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise OptionError("not UTF-8 text", "save the recipe as UTF-8", file=path) from None
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", "check the path and its permissions", file=path
        ) from None
    return _read(text, str(path))


def _read(text: str, what: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    import yaml

    lines: dict[tuple[str, ...], int] = {}
    try:
        _check_events(text, what)
        loader = _loader()(text)
        node = loader.get_single_node()
        return (None if node is None else _value(node, (), lines, loader, what)), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = what if mark is None else f"{what}:{mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error)
        raise OptionError(f"not valid YAML ({problem})", "mend this line", file=place) from None
    except RecursionError:
        raise OptionError(f"nested deeper than {DEEPEST}", "a recipe needs no such depth", file=what) from None


def _check_events(text: str, what: str) -> None:
    """Refuse what could grow, before anything is built."""
    import yaml

    nodes = depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        mark = event.start_mark
        line = what if mark is None else f"{what}:{mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise OptionError("an anchor or alias (& or *)", "write the value out; put a text with & or * in quotes",
                              file=line)  # fmt: skip
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST:
            raise OptionError(f"nested deeper than {DEEPEST}", "a recipe needs no such depth", file=line)
        if nodes > MOST_NODES:
            raise OptionError(f"more than {MOST_NODES} values", "a recipe is a small file", file=line)


def _value(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int], loader: Any, what: str) -> Any:
    import yaml

    line = f"{what}:{node.start_mark.line + 1}"
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return _finite(loader.construct_object(node), line)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, str(index)), lines, loader, what) for index, item in enumerate(node.value)]
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = f"{what}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise OptionError("a key that is not a word", "keys are words", file=place)
        key = str(key_node.value)
        if key in found:
            raise OptionError(f"the key {key!r} stands here twice", "keep one of them", file=place)
        lines[(*path, key)] = key_node.start_mark.line + 1
        found[key] = _value(value_node, (*path, key), lines, loader, what)
    return found


def _finite(value: Any, place: str) -> Any:
    if not isinstance(value, str | int | float | None):
        raise OptionError(
            f"a value of type {type(value).__name__}", "options are texts, numbers, true or false", file=place
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{value} is not a number that an option can have", "give a finite number", file=place)
    return value
