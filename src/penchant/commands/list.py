"""List recipes, signals, objectives, rewards, algorithms, metrics ..."""

from __future__ import annotations

from typing import Annotated

import typer

from penchant import console, registry
from penchant.commands._shared import AsJson
from penchant.errors import InputError


def _complete(incomplete: str) -> list[str]:
    return [kind for kind in registry.KINDS if kind.startswith(incomplete)]


def command(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="What to list; without it, the kinds.", autocompletion=_complete),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what there is of a kind, with a line of help each.

    \b
    Examples:
      penchant list recipes
      penchant list signals --json
    """
    if kind is None:
        found = [{"name": name, "help": f"{len(registry.names(name))} of them"} for name in registry.KINDS]
    else:
        name = kind if kind in registry.KINDS else f"{kind}s"
        if name not in registry.KINDS:
            from penchant.options import nearest

            raise InputError(f"there is no kind {kind!r}", nearest(kind, registry.KINDS))
        found = [{"name": one, "help": registry.describe(name, one)} for one in registry.names(name)]
    if as_json:
        console.data(found)
    else:
        console.table([(row["name"], row["help"]) for row in found], (kind or "kind", "help"))
