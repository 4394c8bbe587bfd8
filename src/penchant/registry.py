"""Plug-ins are modules: found as files of a folder of their kind, as a path or module, or as an entry point.

A plug-in module defines `Options` (a pydantic model; optional) and `build(options, context)` (a stage `run`, a command
`command`); a file without it is a room's own tool and no plug-in. Its file name is its name and the first line of its
docstring its help; both are read from its text, so listing imports nothing.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from penchant.errors import InputError

__all__ = ["KINDS", "MAKERS", "describe", "load", "names"]

KINDS = {
    "recipes": ".yaml",
    "signals": ".py",
    "tasks": ".py",
    "objectives": ".py",
    "rewards": ".py",
    "algorithms": ".py",
    "environments": ".py",
    "metrics": ".py",
    "raters": ".py",
    "stages": ".py",
    "commands": ".py",
}
MAKERS = {"stages": "run", "commands": "command"}  # what a module of a kind must define; others: `build`
_ROOT = Path(__file__).parent


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind: the package's own files, then installed entry points."""
    own = _own(kind)
    return [*own, *(name for name in sorted(_entry_points(kind)) if name not in own)]


@functools.cache
def _own(kind: str) -> tuple[str, ...]:
    """Names of the package's own files that are plug-ins."""
    files = [p for p in sorted((_ROOT / kind).glob(f"*{KINDS[kind]}")) if not p.stem.startswith("_")]
    maker = MAKERS.get(kind, "build")
    defines = re.compile(rf"^(?:def {maker}\(|{maker} = )", re.MULTILINE)
    return tuple(p.stem for p in files if p.suffix != ".py" or defines.search(p.read_text(encoding="utf-8")))


def describe(kind: str, name: str) -> str:
    """The first line of a plug-in's docstring (of a recipe's first comment), without importing it."""
    path = _ROOT / kind / f"{name}{KINDS[kind]}"
    if not path.exists():
        return "from an installed package"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return text.partition("\n")[0].lstrip("# ").strip()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def load(kind: str, name: str) -> ModuleType:
    """The module of a plug-in, by name, `path/to/file.py`, or `package.module`.

    Raises:
        InputError: no such plug-in; the message names the nearest.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name in _own(kind):
        return importlib.import_module(f"penchant.{kind}.{name}")
    if name in (points := _entry_points(kind)):
        return importlib.import_module(points[name])
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and misses one of its own
    near = difflib.get_close_matches(name, names(kind), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"no {kind.removesuffix('s')} named {name!r}", f"{hint}there are {', '.join(names(kind))}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError("no such file", "give the path of a Python file that defines build()", file=path)
    label = f"penchant_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(label, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    spec.loader.exec_module(module)
    return module


def _entry_points(kind: str) -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=f"penchant.{kind}")}
